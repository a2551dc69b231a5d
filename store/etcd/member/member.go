// Package member runs a member of an etcd cluster in this process: etcd's own
// server, its log written to slog. Package etcd is its client, in process or over
// TLS.
package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// Files are a certificate, its key and the authority that the other side's must be
// signed by.
type Files struct{ Cert, Key, CA string }

func (f Files) info() transport.TLSInfo {
	return transport.TLSInfo{CertFile: f.Cert, KeyFile: f.Key, TrustedCAFile: f.CA, ClientCertAuth: true}
}

// Options describe a member. Addresses are host:port.
type Options struct {
	Dir  string // its data
	Name string // of the member in its cluster
	// PeerListen and ClientListen are where it listens; Peer and Client what it tells
	// others, the same if empty.
	PeerListen, ClientListen string
	Peer, Client             string
	// Cluster lists all members as name=https://host:port, comma separated; empty:
	// this one alone. Join says that the cluster runs already and knows this member.
	Cluster string
	Join    bool
	// PeerTLS and ClientTLS; without files the connections are not encrypted, for
	// tests.
	PeerTLS, ClientTLS Files
	// Quota is the size in bytes at which writes are refused. Default 8 GiB.
	Quota int64
	// Unsafe answers before the disk has what was written, and elects in a tenth of
	// the time: for tests.
	Unsafe bool
	Logger *slog.Logger
}

// Member is a running one.
type Member struct{ etcd *embed.Etcd }

// startTime is how long a member may take to take part in its cluster.
const startTime = time.Minute

// Start runs a member and returns when it takes part in its cluster.
func Start(ctx context.Context, o Options) (*Member, error) {
	cfg, err := config(&o)
	if err != nil {
		return nil, err
	}
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("etcd member in %s: %w", o.Dir, err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	select {
	case <-e.Server.ReadyNotify():
		return &Member{e}, nil
	case err = <-e.Err():
	case <-e.Server.StopNotify():
		err = errors.New("it stopped")
	case <-ctx.Done():
		err = fmt.Errorf("it does not reach the other members: %w", ctx.Err())
	}
	e.Close()
	return nil, fmt.Errorf("etcd member in %s: %w", o.Dir, err)
}

func config(o *Options) (*embed.Config, error) {
	cfg := embed.NewConfig()
	cfg.Dir, cfg.Name = o.Dir, o.Name
	peers, clients := "http", "http"
	if o.PeerTLS != (Files{}) {
		peers, cfg.PeerTLSInfo = "https", o.PeerTLS.info()
	}
	if o.ClientTLS != (Files{}) {
		clients, cfg.ClientTLSInfo = "https", o.ClientTLS.info()
	}
	one := func(scheme string, addresses ...string) []url.URL {
		for _, a := range addresses {
			if a != "" {
				return []url.URL{{Scheme: scheme, Host: a}}
			}
		}
		return nil
	}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = one(peers, o.PeerListen), one(peers, o.Peer, o.PeerListen)
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = one(clients, o.ClientListen), one(clients, o.Client, o.ClientListen)
	cfg.InitialCluster = o.Cluster
	if o.Cluster == "" {
		cfg.InitialCluster = o.Name + "=" + cfg.AdvertisePeerUrls[0].String()
	}
	if o.Join {
		cfg.ClusterState = embed.ClusterStateFlagExisting
	}
	cfg.QuotaBackendBytes = o.Quota
	if o.Quota == 0 {
		cfg.QuotaBackendBytes = 8 << 30
	}
	// The API server compacts; nobody asks for JSON.
	cfg.AutoCompactionRetention, cfg.EnableGRPCGateway = "0", false
	if o.Unsafe {
		cfg.UnsafeNoFsync, cfg.TickMs, cfg.ElectionMs = true, 10, 100
	}
	log := o.Logger
	if log == nil {
		log = slog.Default()
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(bridge(log))
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("etcd member in %s: %w", o.Dir, err)
	}
	return cfg, nil
}

// Client talks to the member in process. Close it before the member.
func (m *Member) Client() *clientv3.Client { return v3client.New(m.etcd.Server) }

// ClientAddress is where it listens for clients.
func (m *Member) ClientAddress() string { return m.etcd.Clients[0].Addr().String() }

// PeerAddress is where it listens for other members.
func (m *Member) PeerAddress() string { return m.etcd.Peers[0].Addr().String() }

// Failed tells of an end that nobody asked for.
func (m *Member) Failed() <-chan error { return m.etcd.Err() }

// Close stops the member. What it has answered is on disk.
func (m *Member) Close() { m.etcd.Close() }
