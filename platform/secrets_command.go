package platform

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"skiff.dev/skiff/cli/localapi"
)

func secretsCommand(c *Config) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secrets",
		Short: "Care for how secrets are stored",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "rotate-key",
		Short: "Seal all secrets by a new key and drop the old one",
		Long: `Seal all secrets by a new key and drop the old one, while the cluster runs. Killed at
any moment, it is finished by the next start. The keys are in pki/secrets.json of the
data directory; where several servers share a datastore, copy the file to the others
when this command has ended.`,
		Example: `  skiff secrets rotate-key`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := localapi.NewClient(c.Run).RotateKey(cmd.Context())
			if errors.Is(err, localapi.ErrNotRunning) {
				return &Fault{What: err.Error(), Do: "start it first: skiff up --detach", Err: err}
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "sealed %d secrets by the new key %s\n", r.Sealed, r.Key)
			return nil
		},
	})
	return cmd
}
