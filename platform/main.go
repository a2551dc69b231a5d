// Package platform is the only wiring: the ordered list of components, their
// configuration, and the commands that start and stop them.
package platform

// Main runs the command line and returns the exit code.
func Main(args []string) int { return 0 }
