package cli

import (
	"context"
	"path/filepath"
	"strings"

	"skiff.dev/skiff/cli/docker"
)

// runEmbedded runs one of the command lines inside skiff when args ask for it:
// under its own name, or by a word after nothing but skiff's own two flags. Their
// flags are theirs to parse.
func runEmbedded(ctx context.Context, dirs *Dirs, args []string) (code int, ok bool) {
	dirsFromEnv(dirs)
	switch filepath.Base(args[0]) {
	case "kubectl":
		return kubectl(*dirs, args[1:]), true
	case "docker":
		return docker.Run(ctx, docker.Options{Name: "docker", Args: args[1:], Instance: instance{dirs}}), true
	}
	for i := 1; i < len(args); i++ {
		name, value, joined := strings.Cut(args[i], "=")
		switch name {
		case "kubectl":
			return kubectl(*dirs, args[i+1:]), true
		case "docker":
			return docker.Run(ctx, docker.Options{Name: "skiff docker", Args: args[i+1:], Instance: instance{dirs}}), true
		case "--data-dir", "--run-dir":
			if !joined {
				if i++; i == len(args) {
					return 0, false
				}
				value = args[i]
			}
			if name == "--data-dir" {
				dirs.Data = value
			} else {
				dirs.Run, dirs.runChosen = value, true
			}
		default:
			return dockerVerb(ctx, dirs, args[i], args[i+1:])
		}
	}
	return 0, false
}
