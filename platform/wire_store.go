package platform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"skiff.dev/skiff/apiserver/atrest"
	"skiff.dev/skiff/auth/pki"
	"skiff.dev/skiff/cli/localapi"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/etcd"
	"skiff.dev/skiff/store/etcd/member"
	"skiff.dev/skiff/store/sealed"
)

// Where the state lies if it is not in an etcd of others.
const (
	onDisk   = "disk"
	embedded = "etcd-embedded"
)

// openStore opens the state of the cluster and seals its secrets.
func (p *process) openStore(ctx context.Context) (_ func(), err error) {
	inner, undo, err := p.openDatastore(ctx)
	if err != nil {
		return undo, err
	}
	undone := func() {
		inner.Close()
		if undo != nil {
			undo()
		}
	}
	if err := p.checkDatastore(ctx, inner); err != nil {
		return undone, err
	}
	p.store, err = p.seal(ctx, inner)
	_, p.shared = inner.(store.Shared)
	return undone, err
}

// openDatastore opens what the flags name. undo ends what the store itself does not.
func (p *process) openDatastore(ctx context.Context) (s store.Store, undo func(), err error) {
	log := p.tel.For("store").Log
	switch {
	case p.cfg.ClusterInit:
		return p.startMember(ctx)
	case p.cfg.Datastore != "" && p.cfg.Datastore != onDisk:
		at, err := parsePlace("datastore", p.cfg.Datastore)
		if err != nil {
			return nil, nil, err
		}
		s, err = at.open(ctx, p.cfg.datastoreTLS(), 0, log)
		return s, nil, err
	}
	s, err = place{dir: filepath.Join(p.cfg.Data, "store")}.open(ctx, etcdTLS{}, 0, log)
	return s, nil, err
}

// chooseEtcd settles where an embedded member listens.
func (p *process) chooseEtcd() error {
	if !p.cfg.ClusterInit {
		return nil
	}
	if p.cfg.EtcdPeerListen == "" {
		p.cfg.EtcdPeerListen = net.JoinHostPort(p.nodeIP.String(), etcdPeerPort)
	}
	for _, v := range []struct {
		flag    string
		address *string
	}{{"etcd-listen", &p.cfg.EtcdListen}, {"etcd-peer-listen", &p.cfg.EtcdPeerListen}} {
		l, err := listen(v.flag, *v.address, p.cfg.open[v.flag])
		if err != nil {
			return err
		}
		*v.address = l.Addr().String()
		if err := l.Close(); err != nil { // etcd listens itself
			return err
		}
	}
	return nil
}

// startMember runs a member of etcd in this process and connects to it.
func (p *process) startMember(ctx context.Context) (store.Store, func(), error) {
	peer, _, err := net.SplitHostPort(p.cfg.EtcdPeerListen)
	if err != nil {
		return nil, nil, err
	}
	ips := []net.IP{p.nodeIP.AsSlice()}
	if ip := net.ParseIP(peer); ip != nil {
		ips = append(ips, ip)
	}
	files, err := pki.EnsureEtcd(filepath.Join(p.cfg.Data, "pki", "etcd"), []string{p.cfg.NodeName}, ips, nil)
	if err != nil {
		return nil, nil, err
	}
	m, err := member.Start(ctx, member.Options{
		Dir: filepath.Join(p.cfg.Data, "etcd"), Name: p.cfg.NodeName,
		PeerListen: p.cfg.EtcdPeerListen, ClientListen: p.cfg.EtcdListen,
		PeerTLS:   member.Files{Cert: files.Peer, Key: files.PeerKey, CA: files.CA},
		ClientTLS: member.Files{Cert: files.Server, Key: files.ServerKey, CA: files.CA},
		Logger:    p.tel.For("etcd").Log,
	})
	if err != nil {
		return nil, nil, err
	}
	s, err := etcd.Open(ctx, etcd.Options{Client: m.Client(), Logger: p.tel.For("store").Log})
	if err != nil {
		return nil, m.Close, err
	}
	p.component("etcd", func(ctx context.Context) error {
		select {
		case err := <-m.Failed():
			return err
		case <-ctx.Done():
			return nil
		}
	})
	return s, m.Close, nil
}

// checkDatastore refuses a store that cannot be this cluster's: one that is new where
// the cluster has lived in another, or one into which a copy has not been finished.
func (p *process) checkDatastore(ctx context.Context, s store.Store) error {
	half, err := unfinished(ctx, s)
	if err != nil {
		return err
	}
	if half {
		return &Fault{What: "a copy into the datastore was not finished", Do: "repeat it: skiff datastore copy"}
	}
	now := p.cfg.where()
	if p.cfg.was == "" || p.cfg.was == now {
		return nil
	}
	if free, err := empty(ctx, s); err != nil || !free {
		return err
	}
	return &Fault{
		What: fmt.Sprintf("the datastore %s is empty, but this cluster lives in %s", now, p.cfg.was),
		Do:   "copy it there first: skiff datastore copy; or leave the flag out",
	}
}

// keyFile is the file of the keys that seal secrets.
type keyFile string

func (f keyFile) Name() string { return string(f) }

func (f keyFile) Read() ([]byte, error) {
	raw, err := os.ReadFile(string(f))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return raw, err
}

func (f keyFile) Write(raw []byte) error { return pki.WriteFile(string(f), raw) }

// seal wraps the store as the configuration of encryption says.
func (p *process) seal(ctx context.Context, inner store.Store) (store.Store, error) {
	file := keyFile(filepath.Join(p.cfg.Data, "pki", "secrets.json"))
	isNew := !exists(file.Name())
	ring, err := sealed.OpenRing(file, nil)
	if err != nil {
		return nil, &Fault{What: err.Error(), Do: "restore the file from a backup", Err: err}
	}
	if err := ring.Establish(ctx, inner); err != nil {
		if isNew {
			_ = os.Remove(file.Name()) // the key in it has sealed nothing
		}
		var missing *sealed.KeyError
		if errors.As(err, &missing) {
			return nil, &Fault{What: err.Error(), Do: "without it the secrets of the cluster cannot be read; to begin anew: skiff reset", Err: err}
		}
		return nil, err
	}
	if p.cfg.EncryptionConfig != "" {
		raw, err := os.ReadFile(p.cfg.EncryptionConfig)
		if err != nil {
			return nil, &Fault{What: "--encryption-provider-config: " + err.Error(), Do: "give a file of kind EncryptionConfiguration", Err: err}
		}
		policy, err := atrest.FromConfiguration(raw, ring)
		if err != nil {
			return nil, &Fault{What: "--encryption-provider-config=" + p.cfg.EncryptionConfig + ": " + err.Error(), Do: "mend the file", Err: err}
		}
		return sealed.Wrap(inner, policy, nil), nil
	}
	p.rotation = &rotation{Rotation: sealed.Rotation{Ring: ring, Inner: inner, Ranges: atrest.Ranges()}}
	return sealed.Wrap(inner, atrest.Default(ring), ring), nil
}

// rotation changes the key of secrets, once at a time.
type rotation struct {
	mu sync.Mutex
	sealed.Rotation
}

// finishSealing seals what lies unsealed from before, and finishes a rotation in
// which the last process ended.
func (p *process) finishSealing(ctx context.Context) error {
	p.rotation.mu.Lock()
	pending, err := p.rotation.Pending(ctx)
	if err == nil && pending {
		var n int
		if n, err = p.rotation.Finish(ctx); err == nil {
			p.tel.Log.Info("secrets are sealed by the newest key", "sealed", n, "key", p.rotation.Ring.Sealing())
		}
	}
	p.rotation.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		p.tel.Log.Error("secrets cannot be sealed by the newest key; all can be read", "error", err)
	}
	<-ctx.Done()
	return nil
}

// rotateKey is `skiff secrets rotate-key`.
func (p *process) rotateKey(ctx context.Context) (localapi.RotatedKey, error) {
	if p.rotation == nil {
		return localapi.RotatedKey{}, fmt.Errorf("secrets are sealed as %s says: put a new key first in its list, start again, write all secrets anew, then take the old key out", p.cfg.EncryptionConfig)
	}
	// Whoever asked may go; what has begun is finished.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
	defer cancel()
	p.rotation.mu.Lock()
	defer p.rotation.mu.Unlock()
	id, n, err := p.rotation.Run(ctx)
	return localapi.RotatedKey{Key: id, Sealed: n}, err
}
