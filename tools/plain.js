/**
 * Set-up of every test file: what commands print is compared as plain text, wherever the tests run. Continuous integration and
 * terminals ask for colours, and programs that a test starts inherit that.
 */
delete process.env.FORCE_COLOR;
delete process.env.CI;
process.env.NO_COLOR = '1';
