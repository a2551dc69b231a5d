package platform

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/disk"
	"skiff.dev/skiff/store/etcd"
)

// place is where a cluster's state lies: a directory, or an etcd.
type place struct {
	dir       string
	endpoints []string
	prefix    string
}

// parsePlace reads disk:///dir or etcd://host:port[,host:port...][/prefix].
func parsePlace(flag, s string) (place, error) {
	bad := func(why string) (place, error) {
		return place{}, &Fault{What: fmt.Sprintf("--%s=%s: %s", flag, s, why),
			Do: "write it like disk:///var/lib/skiff/store or etcd://192.0.2.10:2379,192.0.2.11:2379"}
	}
	kind, rest, ok := strings.Cut(s, "://")
	switch {
	case !ok:
		return bad("it has no kind")
	case kind == "disk":
		if !strings.HasPrefix(rest, "/") {
			return bad("the directory is not absolute")
		}
		return place{dir: filepath.Clean(rest)}, nil
	case kind != "etcd":
		return bad(fmt.Sprintf("%q is neither disk nor etcd", kind))
	}
	hosts, prefix, _ := strings.Cut(rest, "/")
	p := place{prefix: strings.Trim(prefix, "/")}
	if strings.Contains(prefix, ":") {
		return bad("a prefix cannot hold a colon")
	}
	for h := range strings.SplitSeq(hosts, ",") {
		if host, port, err := net.SplitHostPort(h); err != nil || host == "" || port == "" {
			return bad(fmt.Sprintf("%q is not host:port", h))
		}
		p.endpoints = append(p.endpoints, h)
	}
	return p, nil
}

func (p place) String() string {
	if p.dir != "" {
		return "disk://" + p.dir
	}
	s := "etcd://" + strings.Join(p.endpoints, ",")
	if p.prefix != "" {
		s += "/" + p.prefix
	}
	return s
}

// etcdTLS are the files of the flags --datastore-cafile and so on; none of them: the
// connection is not encrypted.
type etcdTLS struct{ CA, Cert, Key string }

func (t etcdTLS) config() (*tls.Config, error) {
	if t == (etcdTLS{}) {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		raw, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, &Fault{What: "--datastore-cafile: " + err.Error(), Do: "give the certificate of etcd's authority"}
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(raw) {
			return nil, &Fault{What: "--datastore-cafile: there is no certificate in " + t.CA, Do: "give the certificate of etcd's authority"}
		}
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, &Fault{What: "--datastore-certfile and --datastore-keyfile belong together", Do: "give both, or neither"}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, &Fault{What: "--datastore-certfile and --datastore-keyfile: " + err.Error(), Do: "give a client certificate of etcd and its key", Err: err}
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// open opens the store that lies there. first is where an empty one on disk begins;
// 0: where all do.
func (p place) open(ctx context.Context, files etcdTLS, first int64, log *slog.Logger) (store.Store, error) {
	if p.dir != "" {
		s, err := disk.Open(p.dir, disk.Options{Logger: log, First: first})
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	config, err := files.config()
	if err != nil {
		return nil, err
	}
	s, err := etcd.Open(ctx, etcd.Options{Endpoints: p.endpoints, Prefix: p.prefix, TLS: config, Logger: log})
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		do := "start etcd, or mend the address"
		if config == nil {
			do += "; where it wants TLS, give --datastore-cafile, --datastore-certfile and --datastore-keyfile"
		}
		return nil, &Fault{What: "cannot use the datastore " + p.String() + ": " + err.Error(), Do: do, Err: err}
	}
	return s, nil
}

// empty tells whether a store holds nothing.
func empty(ctx context.Context, s store.Store) (bool, error) {
	res, err := s.Range(ctx, store.Range{Start: "", End: "\xff", Limit: 1, KeysOnly: true})
	return err == nil && len(res.KVs) == 0, err
}

// What one transaction of a copy holds at most, well below etcd's limits.
const (
	copyOps   = 100
	copyBytes = 1 << 20
)

// Keys of a copy.
const (
	// copyKey marks a target whose copy is not finished.
	copyKey = "/skiff/copying"
	// raiseKey is written to use up revisions.
	raiseKey = "/skiff/raising/"
)

// copied is told how a copy goes: to which revision the target has been raised, or
// how many records of all are written.
type copied struct {
	Revision, Until int64
	Records, All    int
}

// copyStore copies the newest state of from into the store that open opens, which
// must be empty or hold an unfinished copy, which is taken away. Revisions never go
// back: the target's is raised to from's before a record is written, so that what
// clients have seen stays older than what they will see. first is where an empty
// store that can choose should begin.
func copyStore(ctx context.Context, from store.Store, open func(first int64) (store.Store, error), tell func(copied)) (n int, err error) {
	at, err := store.Latest(ctx, from)
	if err != nil {
		return 0, err
	}
	to, err := open(at)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if err := prepareCopy(ctx, to); err != nil {
		return 0, err
	}
	if err := raise(ctx, to, at, tell); err != nil {
		return 0, fmt.Errorf("raise the revision of the target: %w", err)
	}
	c := copier{to: to, tell: tell}
	r := store.Range{Start: "", End: "\xff", Revision: at, Limit: 500}
	for {
		res, err := from.Range(ctx, r)
		if err != nil {
			return c.records, fmt.Errorf("read: %w", err)
		}
		c.all = c.records + len(c.txn.Ops) + res.Count
		for _, kv := range res.KVs {
			if err := c.add(ctx, kv); err != nil {
				return c.records, err
			}
		}
		if !res.More || len(res.KVs) == 0 {
			break
		}
		r.Start = res.KVs[len(res.KVs)-1].Key + "\x00"
	}
	if err := c.flush(ctx); err != nil {
		return c.records, err
	}
	_, err = to.Commit(ctx, store.Txn{Ops: []store.Op{{Key: copyKey, Delete: true}}})
	return c.records, err
}

// copier gathers records into transactions.
type copier struct {
	to           store.Store
	tell         func(copied)
	txn          store.Txn
	size         int
	records, all int
}

func (c *copier) add(ctx context.Context, kv store.KV) error {
	n := len(kv.Key) + len(kv.Value)
	if len(c.txn.Ops) == copyOps || c.size+n > copyBytes {
		if err := c.flush(ctx); err != nil {
			return err
		}
	}
	c.txn.Ops = append(c.txn.Ops, store.Op{Key: kv.Key, Value: kv.Value})
	c.size += n
	return nil
}

func (c *copier) flush(ctx context.Context) error {
	if len(c.txn.Ops) == 0 {
		return nil
	}
	if _, err := c.to.Commit(ctx, c.txn); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	c.records += len(c.txn.Ops)
	c.txn, c.size = store.Txn{}, 0
	c.tell(copied{Records: c.records, All: c.all})
	return nil
}

// prepareCopy marks an empty target, and empties one with an unfinished copy.
func prepareCopy(ctx context.Context, to store.Store) error {
	free, err := empty(ctx, to)
	if err != nil {
		return fmt.Errorf("look into the target: %w", err)
	}
	if free {
		_, err := to.Commit(ctx, store.Txn{Guards: []store.Guard{{Key: copyKey}}, Ops: []store.Op{{Key: copyKey}}})
		return err
	}
	if half, err := unfinished(ctx, to); err != nil || !half {
		return errors.Join(err, errors.New("the target is not empty; nothing was changed"))
	}
	for {
		res, err := to.Range(ctx, store.Range{Start: "", End: "\xff", Limit: copyOps, KeysOnly: true})
		if err != nil {
			return err
		}
		var txn store.Txn
		for _, kv := range res.KVs {
			if kv.Key != copyKey {
				txn.Ops = append(txn.Ops, store.Op{Key: kv.Key, Delete: true})
			}
		}
		if len(txn.Ops) == 0 {
			return nil
		}
		if _, err := to.Commit(ctx, txn); err != nil {
			return err
		}
	}
}

// unfinished tells whether a copy into the store was begun and not finished.
func unfinished(ctx context.Context, s store.Store) (bool, error) {
	res, err := s.Range(ctx, store.Range{Start: copyKey})
	return err == nil && len(res.KVs) > 0, err
}

// raise uses up revisions until a store's newest is at least until.
func raise(ctx context.Context, s store.Store, until int64, tell func(copied)) error {
	const inFlight = 64
	for {
		now, err := store.Latest(ctx, s)
		if err != nil {
			return err
		}
		if now >= until {
			break
		}
		tell(copied{Revision: now, Until: until})
		n := min(64*inFlight, until-now)
		var group errgroup.Group
		group.SetLimit(inFlight)
		for i := range n {
			group.Go(func() error {
				_, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: fmt.Sprint(raiseKey, i%inFlight)}}})
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	var gone store.Txn
	for i := range inFlight {
		gone.Ops = append(gone.Ops, store.Op{Key: fmt.Sprint(raiseKey, i), Delete: true})
	}
	_, err := s.Commit(ctx, gone)
	return err
}
