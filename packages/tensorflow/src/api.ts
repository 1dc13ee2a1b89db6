/** `@plumbline/tensorflow/api`: the functions. Importing it changes nothing; importing the package itself starts the backend. */

// The backend

export type { Availability, StartOptions, TensorflowInfo } from './backend.js';
export { registerTensorflowBackend, tensorflowAvailable, tensorflowBackend } from './backend.js';
export { type Bf16Matrix, bf16Matrix, setProducts } from './bf16.js';
export { TensorflowError } from './errors.js';
export { type Found, findTensorflow } from './find.js';
export type { Settings } from './open.js';
export type { TfjsNodeBackend } from './tfjsNode.js';

// Setting it up

export { type Card, cards } from './card.js';
export { type SelfTest, selfTest } from './selfTest.js';
export { prepareBinding, removeSetup, type SetupOptions, setupTensorflow } from './setup.js';
export { readSetup, type SetupRecord } from './store.js';
