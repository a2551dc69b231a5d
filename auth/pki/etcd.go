package pki

import (
	"net"
	"path/filepath"
	"time"
)

// EtcdFiles are the paths of what members of an embedded etcd and their clients
// prove themselves with. Their authority is their own: no certificate of the
// cluster's users opens etcd.
type EtcdFiles struct {
	CA                string
	Server, ServerKey string // a member towards its clients
	Peer, PeerKey     string // a member towards other members
	Client, ClientKey string // the API server towards members
	CAKey             string
}

// EnsureEtcd loads or makes them in dir. names and ips are this machine's.
func EnsureEtcd(dir string, names []string, ips []net.IP, now func() time.Time) (*EtcdFiles, error) {
	if now == nil {
		now = time.Now
	}
	m := &Material{Dir: dir, options: Options{Now: now}}
	var err error
	if m.CA, err = ensureAuthority(dir, "ca", "skiff-etcd", now()); err != nil {
		return nil, err
	}
	here := Profile{
		Name: "etcd", Server: true, Client: true,
		DNS: append([]string{"localhost"}, names...), IPs: append([]net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, ips...),
	}
	for file, p := range map[string]Profile{"server": here, "peer": here, "client": {Name: "skiff-apiserver", Client: true}} {
		if _, err := m.ensurePair(m.CA, file, p); err != nil {
			return nil, err
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	return &EtcdFiles{
		CA: at("ca.crt"), CAKey: at("ca.key"),
		Server: at("server.crt"), ServerKey: at("server.key"), Peer: at("peer.crt"), PeerKey: at("peer.key"),
		Client: at("client.crt"), ClientKey: at("client.key"),
	}, nil
}
