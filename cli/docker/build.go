package docker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/docker/cli/cli/command"
	"github.com/moby/moby/api/types/build"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// raw is a flag that keeps its values as they were written, beside what the
// library's command makes of them.
type raw struct {
	pflag.Value
	given []string
}

func (r *raw) Set(s string) error {
	r.given = append(r.given, s)
	return r.Value.Set(s)
}

// unused are the classic builder's flags that mean nothing to BuildKit.
var unused = []string{
	"compress", "cpu-period", "cpu-quota", "cpu-shares", "cpuset-cpus", "cpuset-mems", "force-rm", "isolation", "memory",
	"memory-swap", "security-opt", "squash",
}

// onlyBuildKit are the flags of `docker build` by BuildKit that the library's
// command, the one of the classic builder, does not have.
func onlyBuildKit(fs *pflag.FlagSet) {
	fs.StringArray("allow", nil, `Allow extra privileged entitlement (e.g., "network.host", "security.insecure")`)
	fs.StringArray("build-context", nil, "Additional build contexts (e.g., name=path)")
	fs.StringArray("cache-to", nil, `Cache export destinations (e.g., "user/app:cache", "type=local,dest=path/to/dir")`)
	fs.Bool("load", false, `Shorthand for "--output=type=docker"; images are always loaded here`)
	fs.String("metadata-file", "", "Write build result metadata to a file")
	fs.StringArrayP("output", "o", nil, `Output destination (format: "type=local,dest=path")`)
	fs.String("progress", "auto", `Set type of progress output ("auto", "quiet", "plain", "tty", "rawjson")`)
	fs.Bool("push", false, `Push the image to its registry as well`)
	fs.StringArray("secret", nil, `Secret to expose to the build (format: "id=mysecret[,src=/local/secret]")`)
	fs.StringArray("ssh", nil, `SSH agent socket or keys to expose to the build (format: "default|<id>[=<socket>|<key>[,<key>]]")`)
	fs.StringArray("no-cache-filter", nil, "Do not cache specified stages")
	fs.String("provenance", "", `Shorthand for "--attest=type=provenance"`)
	fs.String("sbom", "", `Shorthand for "--attest=type=sbom"`)
}

// withBuildKit makes a `build` command build by BuildKit where the engine offers it.
// Docker's client leaves that to a program of its own, buildx; its flags are added.
func withBuildKit(cmd *cobra.Command, dcli command.Cli) {
	classic, extra := cmd.RunE, pflag.NewFlagSet("", pflag.ContinueOnError)
	onlyBuildKit(extra)
	cmd.Flags().AddFlagSet(extra)
	for _, name := range []string{"tag", "build-arg", "label", "add-host", "cache-from", "ulimit"} {
		f := cmd.Flags().Lookup(name)
		f.Value = &raw{Value: f.Value}
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		use, err := offersBuildKit(dcli)
		if err != nil {
			return err
		}
		if use {
			for _, name := range unused {
				if cmd.Flags().Changed(name) {
					fmt.Fprintf(dcli.Err(), "WARNING: --%s has no effect with BuildKit\n", name)
				}
			}
			return solve(cmd.Context(), dcli, &buildRequest{flags: cmd.Flags(), context: args[0]})
		}
		var foreign error
		extra.VisitAll(func(f *pflag.Flag) {
			if f.Changed && f.Name != "progress" && f.Name != "load" {
				foreign = errors.Join(foreign, fmt.Errorf("--%s needs BuildKit, which this build does not use", f.Name))
			}
		})
		if foreign != nil {
			return foreign
		}
		return classic(cmd, args)
	}
}

// offersBuildKit: DOCKER_BUILDKIT decides, and without it the engine's preference.
func offersBuildKit(dcli command.Cli) (bool, error) {
	if v := os.Getenv("DOCKER_BUILDKIT"); v != "" {
		use, err := strconv.ParseBool(v)
		if err != nil {
			return false, fmt.Errorf("DOCKER_BUILDKIT environment variable expects boolean value: %w", err)
		}
		return use, nil
	}
	return dcli.ServerInfo().BuildkitVersion == build.BuilderBuildKit, nil
}

// archived tells an archive from a Dockerfile, and gives the whole input again.
func archived(in io.Reader) (again io.Reader, archive bool, err error) {
	const tarMagic = 257 // where a tar header has "ustar"
	b := bufio.NewReaderSize(in, 512)
	head, err := b.Peek(tarMagic + 5)
	if err != nil && !errors.Is(err, io.EOF) {
		return b, false, err
	}
	for _, magic := range [][]byte{{0x1f, 0x8b}, []byte("BZh"), {0xfd, '7', 'z', 'X', 'Z'}, {0x28, 0xb5, 0x2f, 0xfd}} {
		if bytes.HasPrefix(head, magic) {
			return b, true, nil
		}
	}
	return b, len(head) == tarMagic+5 && string(head[tarMagic:]) == "ustar", nil
}
