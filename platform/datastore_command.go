package platform

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"skiff.dev/skiff/store"
	"skiff.dev/skiff/telemetry"
)

func datastoreCommand(c *Config) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "datastore",
		Short: "Move the state of a cluster",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(copyCommand(c))
	return cmd
}

func copyCommand(*Config) *cobra.Command {
	var from, to string
	var source, target etcdTLS
	cmd := &cobra.Command{
		Use:   "copy --from PLACE --to PLACE",
		Short: "Copy the state of a stopped cluster to another place",
		Long: `Copy the state of a stopped cluster to another place: disk:///DIR (the directory
store of its data directory) or etcd://HOST:PORT[,HOST:PORT...][/PREFIX]. The target
must be empty. Resource versions go on from those of the source, so that no client
sees them go back. The keys with which secrets are sealed stay in the directory pki
of the data directory: the cluster that uses the copy needs that one.`,
		Example: `  skiff down
  skiff datastore copy --from disk:///var/lib/skiff/store --to etcd://192.0.2.10:2379
  skiff up --detach --datastore etcd://192.0.2.10:2379`,
		Args: cobra.NoArgs,
		RunE: orderly(func(cmd *cobra.Command, _ []string) error {
			a, err := parsePlace("from", from)
			if err != nil {
				return err
			}
			b, err := parsePlace("to", to)
			if err != nil {
				return err
			}
			if a.dir != "" && !exists(a.dir) {
				return &Fault{What: "--from=" + from + ": there is no such directory", Do: "give the directory store of a data directory"}
			}
			ctx, log := cmd.Context(), telemetry.New(cmd.ErrOrStderr(), slog.LevelWarn).Log
			src, err := a.open(ctx, source, 0, log)
			if err != nil {
				return explain(err)
			}
			defer src.Close()
			begin := time.Now()
			show := &copyProgress{out: cmd.ErrOrStderr(), now: time.Now}
			n, err := copyStore(ctx, src, func(first int64) (store.Store, error) { return b.open(ctx, target, first, log) }, show.tell)
			if err != nil {
				return fmt.Errorf("copy %s to %s: %w", a, b, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "copied %d records in %.1f s\n", n, time.Since(begin).Seconds())
			return nil
		}),
	}
	cmd.Flags().StringVar(&from, "from", "", "where the state is")
	cmd.Flags().StringVar(&to, "to", "", "where it goes")
	for _, v := range []struct {
		side  string
		files *etcdTLS
	}{{"from", &source}, {"to", &target}} {
		cmd.Flags().StringVar(&v.files.CA, v.side+"-cafile", "", "certificate of the authority of that etcd")
		cmd.Flags().StringVar(&v.files.Cert, v.side+"-certfile", "", "client certificate for that etcd")
		cmd.Flags().StringVar(&v.files.Key, v.side+"-keyfile", "", "key of the client certificate")
	}
	for _, name := range []string{"from", "to"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
	return cmd
}

// copyProgress tells about once a second how far a copy is.
type copyProgress struct {
	out  io.Writer
	now  func() time.Time
	last time.Time
}

func (p *copyProgress) tell(c copied) {
	if now := p.now(); now.Sub(p.last) >= time.Second {
		p.last = now
		if c.Until > 0 {
			fmt.Fprintf(p.out, "raising the revision: %d of %d\n", c.Revision, c.Until)
			return
		}
		fmt.Fprintf(p.out, "%d of %d records\n", c.Records, c.All)
	}
}
