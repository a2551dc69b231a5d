package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/docker/cli/cli/command"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	bkerrdefs "github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/progress/progressui"
	"golang.org/x/sync/errgroup"
)

// solve has the engine's BuildKit build: through its /grpc, with a session through
// its /session by which the engine asks for files, secrets and credentials.
func solve(ctx context.Context, dcli command.Cli, b *buildRequest) (err error) {
	b.config, b.host, b.stdin = dcli.ConfigFile(), dcli.Client().DaemonHost(), dcli.In()
	so, remove, err := b.solveOpt()
	defer func() { err = errors.Join(err, remove()) }()
	if err != nil {
		return err
	}
	so.Session = append(so.Session, credentials(dcli))
	mode := progressui.DisplayMode(b.one("progress"))
	if v := os.Getenv("BUILDKIT_PROGRESS"); v != "" && !b.flags.Changed("progress") {
		mode = progressui.DisplayMode(v)
	}
	quiet := b.on("quiet")
	if quiet {
		mode = progressui.QuietMode
	}
	display, err := progressui.NewDisplay(os.Stderr, mode)
	if err != nil {
		return err
	}
	kit, err := client.New(ctx, "", client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return dcli.Client().DialHijack(ctx, "/grpc", "h2c", nil)
	}), client.WithSessionDialer(func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
		return dcli.Client().DialHijack(ctx, "/session", proto, meta)
	}))
	if err != nil {
		return err
	}
	defer kit.Close()
	status := make(chan *client.SolveStatus)
	var answer *client.SolveResponse
	var eg errgroup.Group
	eg.Go(func() (err error) {
		answer, err = kit.Solve(ctx, nil, so, status)
		return err
	})
	eg.Go(func() error {
		// The last words come after an interruption too.
		warnings, err := display.UpdateFrom(context.WithoutCancel(ctx), status)
		if !quiet && mode != progressui.RawJSONMode {
			printWarnings(dcli.Err(), warnings)
		}
		return err
	})
	if err := eg.Wait(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		for _, part := range bkerrdefs.Sources(err) {
			if err := part.Print(dcli.Err()); err != nil {
				return err
			}
		}
		return fmt.Errorf("ERROR: failed to build: %w", err)
	}
	return b.tell(dcli, answer.ExporterResponse, quiet)
}

// printWarnings tells what the Dockerfile's checks have found, as buildx does.
func printWarnings(w io.Writer, warnings []client.VertexWarning) {
	switch len(warnings) {
	case 0:
		return
	case 1:
		fmt.Fprintf(w, "\n 1 warning found:\n")
	default:
		fmt.Fprintf(w, "\n %d warnings found:\n", len(warnings))
	}
	for _, v := range warnings {
		fmt.Fprintf(w, " - %s\n", v.Short)
	}
}

// credentials answer for registries by docker's configuration and its helpers.
func credentials(dcli command.Cli) session.Attachable {
	return authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
		AuthConfigProvider: authprovider.LoadAuthConfig(dcli.ConfigFile()),
	})
}

// tell writes what was built where the command line wants it.
func (b *buildRequest) tell(dcli command.Cli, answer map[string]string, quiet bool) error {
	id := answer["containerimage.digest"]
	if id == "" {
		id = answer["containerimage.config.digest"]
	}
	if quiet && id != "" {
		fmt.Fprintln(dcli.Out(), id)
	}
	if file := b.one("iidfile"); file != "" {
		if err := os.WriteFile(file, []byte(id), 0o600); err != nil {
			return err
		}
	}
	if file := b.one("metadata-file"); file != "" {
		text, err := json.MarshalIndent(answer, "", "  ")
		if err != nil {
			return err
		}
		return os.WriteFile(file, append(text, '\n'), 0o600)
	}
	return nil
}
