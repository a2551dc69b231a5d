// Package crash kills a whole API server under full load, again and again, and looks
// for everything that it had acknowledged. It has no code but its test.
package crash
