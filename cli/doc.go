// Package cli is the command line: skiff's own verbs and the embedded kubectl.
package cli
