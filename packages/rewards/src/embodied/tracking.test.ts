import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { keypointDistance, type Pose, referenceCursor, trackingReward } from './tracking.js';

const turned = (axis: 'x' | 'z', degrees: number, position: [number, number, number] = [0, 0, 0]): Pose => {
  const half = (degrees * Math.PI) / 360;
  const s = Math.sin(half);
  return { position, quaternion: axis === 'x' ? [Math.cos(half), s, 0, 0] : [Math.cos(half), 0, 0, s] };
};
const origin = turned('z', 0);
const planar = (x: number, y: number, yaw: number): Pose => ({ position: [x, y], yaw });
const rewardOf = (distance: number) => trackingReward({ distance, contactDistance: 0 });

describe('keypointDistance', () => {
  it('has the values of the card in space', () => {
    for (const [pose, distance, reward] of [
      [turned('z', 0, [0.03, 0.04, 0]), 0.05, 0.6065306597],
      [turned('z', 30), 0.069018412, 0.5014837272],
      [turned('z', 90), 0.1885618083, 0.1517352454],
      [turned('z', 180), 0.2666666667, 0.0069483451],
      [turned('z', 30, [0.03, 0.04, 0]), 0.0870904415, 0.4185728146],
    ] as const) {
      expect(keypointDistance(pose, origin)).toBeCloseTo(distance, 9);
      expect(rewardOf(keypointDistance(pose, origin))).toBeCloseTo(reward, 9);
    }
  });
  it('leaves out turns that a symmetry makes alike', () => {
    expect(keypointDistance(turned('z', 90), origin, { symmetry: 'yaw' })).toBeCloseTo(0, 12);
    expect(keypointDistance(turned('x', 90), origin, { symmetry: 'yaw' })).toBeCloseTo(0.0942809042, 9);
    expect(keypointDistance(turned('x', 77), origin, { symmetry: 'full' })).toBeCloseTo(0, 12);
  });
  it('has the values of the card in the plane', () => {
    const from = planar(0, 0, 0);
    expect(keypointDistance(planar(0.05, 0, 0), from)).toBeCloseTo(0.05, 12);
    expect(keypointDistance(planar(0, 0, 0.5), from)).toBeCloseTo(2 * 0.2 * Math.sin(0.25), 12);
    // Both moves at once, point by point: less than the sum of the two.
    const [c, s] = [0.2 * (Math.cos(0.5) - 1), 0.2 * Math.sin(0.5)];
    expect(keypointDistance(planar(0.05, 0, 0.5), from)).toBeCloseTo((Math.hypot(0.05 + c, s) + Math.hypot(0.05 - s, c)) / 2, 12);
    expect(keypointDistance(planar(0.05, 0, 0.5), from)).toBeCloseTo(0.075615, 6);
  });
  it('is symmetric, and the same where both move together', () => {
    const small = fc.double({ min: -2, max: 2, noNaN: true });
    fc.assert(
      fc.property(small, small, small, small, small, small, (x, y, yaw, dx, dy, turn) => {
        const move = (pose: { position: readonly number[]; yaw: number }) => {
          const [c, s] = [Math.cos(turn), Math.sin(turn)];
          const [px, py] = pose.position;
          return planar(c * px - s * py + dx, s * px + c * py + dy, pose.yaw + turn);
        };
        const [a, b] = [planar(x, y, yaw), planar(y, yaw, x)] as { position: [number, number]; yaw: number }[];
        expect(keypointDistance(a, b)).toBeCloseTo(keypointDistance(b, a), 12);
        expect(keypointDistance(move(a), move(b))).toBeCloseTo(keypointDistance(a, b), 9);
      }),
    );
  });
  it('names what is wrong with a pose', () => {
    expect(() => keypointDistance({ position: [0, 0, 0], quaternion: [1, 1, 0, 0] }, origin)).toThrow("quaternion's length is 1.414");
    expect(() => keypointDistance(planar(0, Number.NaN, 0), origin)).toThrow('the pose is not finite: 0, NaN, 0');
    expect(() => keypointDistance(planar(0, 0, 0), origin)).toThrow('one pose is in the plane');
    expect(() => keypointDistance(origin, origin, { symmetry: 'some' as 'yaw' })).toThrow('there are none, yaw, full');
    expect(() => keypointDistance(origin, origin, { length: 0 })).toThrow('length must be > 0, got 0');
  });
});

describe('trackingReward', () => {
  it('falls with the distance, by a factor of 10 at 0.2 m, and is 0 without contact', () => {
    expect(rewardOf(0)).toBe(1);
    expect(rewardOf(0.2) / rewardOf(0.2 + 1e-12)).toBeCloseTo(10, 6);
    expect(trackingReward({ distance: 0, contactDistance: 0.3 })).toBe(0);
    expect(() => trackingReward({ distance: Number.NaN, contactDistance: 0 })).toThrow('distance must be at least 0, got NaN');
  });
});

describe('referenceCursor', () => {
  const poses = Array.from({ length: 11 }, (_, i) => planar(i, 0, 0));
  const times = { controlSeconds: 0.1, demoSeconds: 0.1 };
  it('is a clock at speed 1 while the object is near', () => {
    const cursor = referenceCursor(poses, times);
    for (let t = 1; t <= 10; t++) expect(cursor.advance(0)).toEqual({ index: t, done: t === 10, paused: false });
    expect(cursor.goal()).toEqual(poses[10]);
    expect(cursor.advance(0).index).toBe(10);
  });
  it('goes at its speed, and waits while the object is far', () => {
    const cursor = referenceCursor(poses, { ...times, speed: 0.5 });
    for (let t = 0; t < 10; t++) cursor.advance(0.1);
    expect(cursor.index).toBe(5);
    expect(cursor.advance(0.21)).toEqual({ index: 5, done: false, paused: true });
    cursor.advance(0);
    expect(cursor.goal()).toEqual(poses[5]); // at 5.5
  });
  it('names what does not fit', () => {
    expect(() => referenceCursor(poses.slice(0, 1), times)).toThrow('2 poses or more, got 1');
    expect(() => referenceCursor(poses, { ...times, speed: 1.5 })).toThrow('speed must be in (0, 1], got 1.5');
    expect(() => referenceCursor(poses, { ...times, demoSeconds: 0 })).toThrow('demoSeconds must be > 0');
  });
});
