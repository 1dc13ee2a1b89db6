/**
 * Set-up of every test file. What commands print is compared as plain text, wherever the tests run: continuous integration and
 * terminals ask for colours, and programs that a test starts inherit that. Properties are tried on the same draws each time, in the full
 * suite on others.
 */
import fc from 'fast-check';

delete process.env.FORCE_COLOR;
delete process.env.CI;
process.env.NO_COLOR = '1';
if (!process.env.PLUMB_FULL) fc.configureGlobal({ seed: 1 });
