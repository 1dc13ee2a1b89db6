/** Gradients of the ops that work element by element, broadcasting included. */
import * as tf from '@tensorflow/tfjs-core';
import { gradient } from './register.js';

/** Sums `dy` over the axes along which `shape` was broadcast. */
export function unbroadcast(dy: tf.Tensor, shape: number[]): tf.Tensor {
  const axes = tf.broadcast_util.getReductionAxes(shape, dy.shape);
  return tf.reshape(axes.length > 0 ? tf.sum(dy, axes) : dy, shape);
}

const like = (dy: tf.Tensor, x: tf.Tensor): tf.Tensor => unbroadcast(dy, x.shape);
const float = (x: tf.Tensor): tf.Tensor => tf.cast(x, 'float32');
/** 1 where true, as the gradient's type. */
const gate = (condition: tf.Tensor): tf.Tensor => tf.cast(condition, 'float32');

// Sums and products of two.
gradient(tf.Add, { saves: ['a', 'b'], shapesOnly: true }, (dy, [a, b]) => ({ a: () => like(dy, a), b: () => like(dy, b) }));
gradient(tf.AddN, { savesAll: true, shapesOnly: true }, (dy, saved) =>
  Object.fromEntries(saved.map((_, i) => [String(i), () => tf.clone(dy)])),
);
gradient(tf.Sub, { saves: ['a', 'b'], shapesOnly: true }, (dy, [a, b]) => ({ a: () => like(dy, a), b: () => like(tf.neg(dy), b) }));
gradient(tf.Multiply, { saves: ['a', 'b'] }, (dy, [a, b]) => ({
  a: () => like(tf.mul(dy, float(b)), a),
  b: () => like(tf.mul(dy, float(a)), b),
}));
gradient(tf.RealDiv, { saves: ['a', 'b'] }, (dy, [a, b]) => ({
  a: () => like(tf.div(dy, float(b)), a),
  b: () => like(tf.neg(tf.div(tf.mul(dy, float(a)), tf.square(float(b)))), b),
}));
gradient(tf.Pow, { saves: ['a', 'b'], savesOutput: true }, (dy, [a, b, y]) => ({
  a: () => like(tf.mul(dy, tf.mul(float(b), tf.pow(float(a), tf.sub(float(b), 1)))), a),
  // y · ln a; 0 where a is not above 0, where the power has no derivative in its exponent
  b: () => like(tf.mul(dy, tf.mul(y, tf.log(tf.where(tf.greater(a, 0), float(a), tf.onesLike(float(a)))))), b),
}));
gradient(tf.SquaredDifference, { saves: ['a', 'b'] }, (dy, [a, b]) => ({
  a: () => like(tf.mul(dy, tf.mul(tf.sub(a, b), 2)), a),
  b: () => like(tf.mul(dy, tf.mul(tf.sub(b, a), 2)), b),
}));
gradient(tf.Atan2, { saves: ['a', 'b'] }, (dy, [a, b]) => ({
  a: () => like(tf.div(tf.mul(dy, b), tf.add(tf.square(a), tf.square(b))), a),
  b: () => like(tf.neg(tf.div(tf.mul(dy, a), tf.add(tf.square(a), tf.square(b)))), b),
}));
gradient(tf.Mod, { saves: ['a', 'b'] }, (dy, [a, b]) => ({
  a: () => like(dy, a),
  b: () => like(tf.neg(tf.mul(dy, tf.floor(tf.div(a, b)))), b),
}));
gradient(tf.FloorDiv, { saves: ['a', 'b'], shapesOnly: true }, (_dy, [a, b]) => ({
  a: () => tf.zeros(a.shape),
  b: () => tf.zeros(b.shape),
}));
// Tied entries share the gradient: half each.
const extremum = (kernelName: string, wins: typeof tf.greater) =>
  gradient(kernelName, { saves: ['a', 'b'] }, (dy, [a, b]) => {
    const share = () => tf.add(gate(wins(a, b)), tf.mul(gate(tf.equal(a, b)), 0.5));
    return { a: () => like(tf.mul(dy, share()), a), b: () => like(tf.mul(dy, tf.sub(1, share())), b) };
  });
extremum(tf.Maximum, tf.greater);
extremum(tf.Minimum, tf.less);
gradient(tf.Select, { saves: ['condition', 't', 'e'] }, (dy, [condition, t, e]) => {
  // Zeros are selected, not multiplied: an infinite gradient on the side that was not chosen stays out.
  const full = () => whereFull(condition, dy);
  return {
    t: () => like(tf.where(full(), dy, tf.zerosLike(dy)), t),
    e: () => like(tf.where(full(), tf.zerosLike(dy), dy), e),
  };
});

/** tf.where takes a condition of rank 1 over the rows of what it selects from. */
function whereFull(condition: tf.Tensor, dy: tf.Tensor): tf.Tensor {
  if (condition.rank === dy.rank || condition.rank !== 1) return condition;
  return tf.reshape(condition, [condition.size, ...dy.shape.slice(1).map(() => 1)]);
}

// One argument, by input: dx = dy · f'(x).
const unary = (kernelName: string, slope: (x: tf.Tensor) => tf.Tensor) =>
  gradient(kernelName, { saves: ['x'] }, (dy, [x]) => ({ x: () => tf.mul(dy, slope(float(x))) }));
unary(tf.Abs, tf.sign);
unary(tf.Acos, (x) => tf.neg(tf.rsqrt(tf.sub(1, tf.square(x)))));
unary(tf.Acosh, (x) => tf.rsqrt(tf.sub(tf.square(x), 1)));
unary(tf.Asin, (x) => tf.rsqrt(tf.sub(1, tf.square(x))));
unary(tf.Asinh, (x) => tf.rsqrt(tf.add(tf.square(x), 1)));
unary(tf.Atan, (x) => tf.reciprocal(tf.add(tf.square(x), 1)));
unary(tf.Atanh, (x) => tf.reciprocal(tf.sub(1, tf.square(x))));
unary(tf.Cos, (x) => tf.neg(tf.sin(x)));
unary(tf.Cosh, tf.sinh);
unary(tf.Erf, (x) => tf.mul(tf.exp(tf.neg(tf.square(x))), 2 / Math.sqrt(Math.PI)));
unary(tf.Expm1, tf.exp);
unary(tf.Log, tf.reciprocal);
unary(tf.Log1p, (x) => tf.reciprocal(tf.add(x, 1)));
unary(tf.Sin, tf.cos);
unary(tf.Sinh, tf.cosh);
unary(tf.Softplus, tf.sigmoid);
unary(tf.Square, (x) => tf.mul(x, 2));
unary(tf.Tan, (x) => tf.reciprocal(tf.square(tf.cos(x))));
unary(tf.Relu6, (x) => gate(tf.logicalAnd(tf.greater(x, 0), tf.less(x, 6))));

// One argument, by output.
const byOutput = (kernelName: string, slope: (y: tf.Tensor) => tf.Tensor) =>
  gradient(kernelName, { savesOutput: true }, (dy, [y]) => ({ x: () => tf.mul(dy, slope(y)) }));
byOutput(tf.Exp, (y) => y);
byOutput(tf.Elu, (y) => tf.where(tf.greaterEqual(y, 0), tf.onesLike(y), tf.add(y, 1)));
byOutput(tf.Reciprocal, (y) => tf.neg(tf.square(y)));
byOutput(tf.Relu, (y) => gate(tf.greater(y, 0)));
byOutput(tf.Rsqrt, (y) => tf.mul(tf.mul(tf.square(y), y), -0.5));
byOutput(tf.Sigmoid, (y) => tf.mul(y, tf.sub(1, y)));
// 0 at 0, where the slope is infinite: so that the norm of a zero vector, and its square under this root, has gradient 0 and not NaN.
byOutput(tf.Sqrt, (y) => tf.where(tf.greater(y, 0), tf.div(0.5, y), tf.zerosLike(y)));
byOutput(tf.Tanh, (y) => tf.sub(1, tf.square(y)));

gradient(tf.Neg, {}, (dy) => ({ x: () => tf.neg(dy) }));
gradient(tf.Identity, {}, (dy) => ({ x: () => tf.clone(dy) }));
gradient(tf.Cast, {}, (dy) => ({ x: () => tf.cast(dy, 'float32') }));
gradient<{ clipValueMin: number; clipValueMax: number }>(tf.ClipByValue, { saves: ['x'] }, (dy, [x], { clipValueMin, clipValueMax }) => ({
  x: () => tf.mul(dy, gate(tf.logicalAnd(tf.greaterEqual(x, clipValueMin), tf.lessEqual(x, clipValueMax)))),
}));
gradient<{ alpha: number }>(tf.LeakyRelu, { saves: ['x'] }, (dy, [x], { alpha }) => ({
  x: () => tf.where(tf.greater(x, 0), dy, tf.mul(dy, alpha)),
}));
gradient(tf.Prelu, { saves: ['x', 'alpha'] }, (dy, [x, alpha]) => ({
  x: () => tf.where(tf.greater(x, 0), dy, tf.mul(dy, alpha)),
  alpha: () => like(tf.where(tf.greater(x, 0), tf.zerosLike(dy), tf.mul(dy, x)), alpha),
}));
gradient(tf.Selu, { saves: ['x'] }, (dy, [x]) => {
  const alpha = 1.7580993408473768; // scale · alpha, Klambauer et al. 2017
  const scale = 1.0507009873554805;
  return { x: () => tf.where(tf.greater(x, 0), tf.mul(dy, scale), tf.mul(dy, tf.mul(tf.exp(x), alpha))) };
});

// Steps: flat wherever they have a derivative.
for (const kernelName of [tf.Ceil, tf.Floor, tf.Round, tf.Sign, tf.Step])
  gradient(kernelName, { saves: ['x'], shapesOnly: true }, (_dy, [x]) => ({ x: () => tf.zeros(x.shape) }));
for (const kernelName of [tf.ZerosLike, tf.OnesLike])
  gradient(kernelName, { saves: ['x'], shapesOnly: true }, (_dy, [x]) => ({ x: () => tf.zeros(x.shape) }));
