/** Rewards for moving an object as it was once shown, whatever moves it. Plain numbers. */

/** Where an object is, in metres and radians: in the plane with its yaw, or in space with a unit quaternion [w, x, y, z]. */
export type Pose =
  | { position: readonly [number, number]; yaw: number }
  | { position: readonly [number, number, number]; quaternion: readonly [number, number, number, number] };
/** Turns that leave the object as it is: none, about its z axis, or all. */
export type Symmetry = 'none' | 'yaw' | 'full';
export type KeypointOptions = {
  /** How far the keypoints stand from the object's centre, along its axes, in metres; 0.2 unless given. */
  length?: number;
  /** `none` unless given. A keypoint that a symmetry turns into others stands at the centre. */
  symmetry?: Symmetry;
};

/**
 * One point along each axis of the object, in the world: `p + length · R · e_j`; two in the plane, three in space.
 *
 * Lum et al. 2025, arXiv:2504.12609, and its code.
 * @throws RangeError for a pose that is not finite, a quaternion that is not of unit length (to 1e-3), a length that is not above 0, or an unknown symmetry
 */
export function objectKeypoints(pose: Pose, { length = 0.2, symmetry = 'none' }: KeypointOptions = {}): number[][] {
  if (!(length > 0)) throw new RangeError(`objectKeypoints: length must be > 0, got ${length}`);
  if (!['none', 'yaw', 'full'].includes(symmetry))
    throw new RangeError(`objectKeypoints: symmetry is "${symmetry}"; there are none, yaw, full`);
  const axes = axesOf(pose);
  return axes.map((axis, j) => {
    const turned = symmetry === 'full' || (symmetry === 'yaw' && j < 2);
    return pose.position.map((p, k) => p + (turned ? 0 : length * axis[k]));
  });
}

/** The object's axes in the world. */
function axesOf(pose: Pose): number[][] {
  const numbers = [...pose.position, ...('yaw' in pose ? [pose.yaw] : pose.quaternion)];
  if (!numbers.every(Number.isFinite)) throw new RangeError(`objectKeypoints: the pose is not finite: ${numbers.join(', ')}`);
  if ('yaw' in pose) {
    const [cos, sin] = [Math.cos(pose.yaw), Math.sin(pose.yaw)];
    return [
      [cos, sin],
      [-sin, cos],
    ];
  }
  const [w, x, y, z] = pose.quaternion;
  const norm = Math.hypot(w, x, y, z);
  if (Math.abs(norm - 1) > 1e-3) throw new RangeError(`objectKeypoints: the quaternion's length is ${norm}, not 1`);
  return [
    [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
    [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
    [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
  ];
}

/** The mean distance between the keypoints of two poses, in metres: position and turn in one number. Of unlike kinds of pose it is an error. */
export function keypointDistance(object: Pose, goal: Pose, options: KeypointOptions = {}): number {
  const [a, b] = [objectKeypoints(object, options), objectKeypoints(goal, options)];
  if (a.length !== b.length) throw new RangeError('keypointDistance: one pose is in the plane and the other in space');
  return a.reduce((sum, point, j) => sum + Math.hypot(...point.map((x, k) => x - b[j][k])), 0) / a.length;
}

export type TrackingOptions = {
  /** How fast the reward falls with the distance, per metre; 10 unless given. */
  alpha?: number;
  /** Beyond this distance the reward is multiplied by `farScale`, in metres; 0.2 and 0.1 unless given. */
  near?: number;
  farScale?: number;
  /** No reward where the fingers are this far from the object or farther, in metres; 0.3 unless given. */
  contact?: number;
};

/**
 * The reward of a step: `exp(−alpha · distance)`, times `farScale` beyond `near`, and 0 where the hand is not at the object. In [0, 1], and 1 where the object is at its goal.
 *
 * Lum et al. 2025, arXiv:2504.12609, and its code: this alone trains the policy, without a bonus for success or a reward for approaching.
 *
 * @param distance        of the object to its goal, by `keypointDistance`
 * @param contactDistance mean distance of the fingertips to the object, in metres
 */
export function trackingReward(
  { distance, contactDistance }: { distance: number; contactDistance: number },
  { alpha = 10, near = 0.2, farScale = 0.1, contact = 0.3 }: TrackingOptions = {},
): number {
  for (const [name, value] of Object.entries({ distance, contactDistance, alpha, near, farScale, contact }))
    if (!(value >= 0)) throw new RangeError(`trackingReward: ${name} must be at least 0, got ${value}`);
  return contactDistance < contact ? Math.exp(-alpha * distance) * (distance > near ? farScale : 1) : 0;
}

export interface ReferenceCursor {
  /** The pose that is to be reached now: the demonstration's at the whole part of the index. */
  goal(): Pose;
  /** Moves on by one control step, and waits where the object is farther than `near` from the goal. The index never falls. */
  advance(distance: number): { index: number; done: boolean; paused: boolean };
  readonly index: number;
}

/**
 * Where in a demonstration an episode is: the index grows by `speed · controlSeconds / demoSeconds` at each step, only while the object is near its goal, and is done at the last pose. Same
 * paper; at speed 1 and always near it is a clock.
 *
 * @throws RangeError for fewer than 2 poses, a speed outside (0, 1], or times that are not above 0
 */
export function referenceCursor(
  poses: readonly Pose[],
  { speed = 1, near = 0.2, controlSeconds, demoSeconds }: { speed?: number; near?: number; controlSeconds: number; demoSeconds: number },
): ReferenceCursor {
  if (poses.length < 2) throw new RangeError(`referenceCursor: a demonstration has 2 poses or more, got ${poses.length}`);
  if (!(speed > 0 && speed <= 1)) throw new RangeError(`referenceCursor: speed must be in (0, 1], got ${speed}`);
  for (const [name, value] of Object.entries({ near, controlSeconds, demoSeconds }))
    if (!(value > 0 && value < Infinity)) throw new RangeError(`referenceCursor: ${name} must be > 0 and finite, got ${value}`);
  const last = poses.length - 1;
  const stride = (speed * controlSeconds) / demoSeconds;
  let steps = 0; // counted, so that the index does not drift
  const index = () => Math.min(last, steps * stride);
  return {
    goal: () => poses[Math.floor(index() + 1e-9)],
    advance: (distance) => {
      const paused = !(distance <= near);
      if (!paused) steps++;
      return { index: index(), done: index() >= last - 1e-9, paused };
    },
    get index() {
      return index();
    },
  };
}
