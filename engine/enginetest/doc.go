// Package enginetest holds the suite that every engine.Engine passes, and Fake,
// an engine without a kernel for the tests of rooms above.
package enginetest
