// Command skiff is a container platform in one program; see README.md.
package main

import (
	"os"

	"skiff.dev/skiff/platform"
)

func main() { os.Exit(platform.Main(os.Args)) }
