package build

import (
	"context"
	"encoding/csv"
	"fmt"
	"net/netip"
	"strings"

	"github.com/containerd/containerd/v2/pkg/oci"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"skiff.dev/skiff/engine"
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

const (
	// hostGateway stands for the machine's address in an extra host.
	hostGateway = "host-gateway"
	// gatewayLabel of a worker tells buildx that address.
	gatewayLabel = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"
)

// gateway is the machine's address for the containers of builds; the zero Addr is
// none.
func (b *Builder) gateway() (netip.Addr, error) {
	if b.o.Network == nil {
		return netip.Addr{}, nil
	}
	return b.o.Network.Gateway()
}

// nameGateway puts the machine's address in the place of "host-gateway".
func (b *Builder) nameGateway(attrs map[string]string) error {
	if !strings.Contains(attrs["add-hosts"], "="+hostGateway) {
		return nil
	}
	hosts, err := csv.NewReader(strings.NewReader(attrs["add-hosts"])).Read()
	if err != nil {
		return fmt.Errorf("%w: extra hosts: %w", engine.ErrInvalid, err)
	}
	addr, err := b.gateway()
	if err != nil {
		return err
	}
	if !addr.IsValid() {
		return fmt.Errorf("%w: unable to derive the IP value for host-gateway", engine.ErrInvalid)
	}
	for i, h := range hosts {
		if name, to, ok := strings.Cut(h, "="); ok && to == hostGateway {
			hosts[i] = name + "=" + addr.String()
		}
	}
	attrs["add-hosts"], err = csvLine(hosts)
	return err
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
