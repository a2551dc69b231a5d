package build

import (
	"context"

	"github.com/containerd/containerd/v2/pkg/oci"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// networks are the networks that RUN knows.
func (b *Builder) networks() map[pb.NetMode]network.Provider {
	out := map[pb.NetMode]network.Provider{
		pb.NetMode_HOST:  network.NewHostProvider(),
		pb.NetMode_NONE:  network.NewNoneProvider(),
		pb.NetMode_UNSET: network.NewHostProvider(),
	}
	if b.o.Network != nil {
		out[pb.NetMode_UNSET] = &joined{b.o.Network}
	}
	return out
}

// joined gives each container a namespace of a Network.
type joined struct{ net Network }

func (j *joined) New(ctx context.Context, hostname string, _ network.NamespaceOptions) (network.Namespace, error) {
	path, leave, err := j.net.Join(ctx, hostname)
	if err != nil {
		return nil, err
	}
	return &joinedNS{path, leave}, nil
}

func (j *joined) Close() error { return nil }

type joinedNS struct {
	path  string
	leave func() error
}

func (n *joinedNS) Set(s *specs.Spec) error {
	return oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: n.path})(nil, nil, nil, s)
}

func (n *joinedNS) Close() error { return n.leave() }

func (n *joinedNS) Sample() (*resourcestypes.NetworkSample, error) { return nil, nil }
