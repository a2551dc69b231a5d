package docker

import (
	_ "unsafe" // for go:linkname

	"github.com/docker/cli/cli/command"
	_ "github.com/docker/cli/cli/command/builder"
	_ "github.com/docker/cli/cli/command/config"
	_ "github.com/docker/cli/cli/command/container"
	_ "github.com/docker/cli/cli/command/context"
	_ "github.com/docker/cli/cli/command/image"
	_ "github.com/docker/cli/cli/command/manifest"
	_ "github.com/docker/cli/cli/command/network"
	_ "github.com/docker/cli/cli/command/node"
	_ "github.com/docker/cli/cli/command/plugin"
	_ "github.com/docker/cli/cli/command/registry"
	_ "github.com/docker/cli/cli/command/secret"
	_ "github.com/docker/cli/cli/command/swarm"
	_ "github.com/docker/cli/cli/command/system"
	_ "github.com/docker/cli/cli/command/volume"
	"github.com/spf13/cobra"
)

// registered are the constructors of the commands of the packages above, which put
// them there as they are initialised. Docker's library has no other way to them
// since its version 29: the constructors are private, this list is internal, and
// the one public reader of it (cli/command/commands) brings `service` and `stack`,
// whose SwarmKit registers the protobuf file raft.proto a second time beside etcd's
// and so ends the program at its start. TestTree fails when the name is no longer
// the list's.
//
//go:linkname registered github.com/docker/cli/internal/commands.commands
var registered []func(command.Cli) *cobra.Command
