/** Our gradients, for all of tfjs's differentiable kernels: importing this registers them. */
import './elementwise.js';
import './product.js';
import './reduce.js';
import './shape.js';
import './spatial.js';
