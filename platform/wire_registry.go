package platform

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/imagestore"
	"skiff.dev/skiff/engine/registry"
)

func (c *Config) registryFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.Registry, "registry", "", "serve a registry of this machine's own images here, such as localhost:5000")
	fs.StringVar(&c.RegistryCert, "registry-tls-cert-file", "", "certificate of that registry, which then need not listen on loopback")
	fs.StringVar(&c.RegistryKey, "registry-tls-private-key-file", "", "key of that certificate")
	fs.StringSliceVar(&c.InsecureRegistries, "insecure-registry", nil, "registry (host, host:port or range of addresses) that may be spoken to in plain HTTP or with any certificate; those on loopback always may")
	fs.StringSliceVar(&c.RegistryMirrors, "registry-mirror", nil, "URL of a mirror of docker.io, or REGISTRY=URL of another registry's, that is asked first")
}

// registries is how other registries are reached.
func (c *Config) registries() (engine.RegistryConfig, error) {
	out := engine.RegistryConfig{Insecure: c.InsecureRegistries, Mirrors: map[string][]string{}}
	for _, m := range c.RegistryMirrors {
		host, url, ok := strings.Cut(m, "=")
		if !ok || strings.Contains(host, "/") {
			host, url = "docker.io", m
		}
		if !strings.Contains(url, "://") {
			return out, &Fault{What: fmt.Sprintf("--registry-mirror=%s is no URL", m), Do: "write it like https://mirror.example.com, or REGISTRY=https://mirror.example.com"}
		}
		out.Mirrors[host] = append(out.Mirrors[host], url)
	}
	return out, nil
}

// serveRegistry tells the image store how registries are reached, and serves this
// machine's own where that is wanted.
func (p *process) serveRegistry(ctx context.Context) (func(), error) {
	store, ok := p.engine.Images().(*imagestore.Store)
	if !ok {
		return nil, errors.New("the engine has no image store of its own")
	}
	others, err := p.cfg.registries()
	if err != nil {
		return nil, err
	}
	if err := store.Configure(others); err != nil {
		return nil, &Fault{What: err.Error(), Do: "write mirrors like https://mirror.example.com"}
	}
	if p.cfg.Registry == "" {
		return nil, nil
	}
	conf, err := p.registryTLS()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", p.cfg.Registry)
	if err != nil {
		return nil, &Fault{What: fmt.Sprintf("the registry cannot listen on %s", p.cfg.Registry), Do: "give another address and port with --registry", Err: err}
	}
	tel := p.tel.For("registry")
	reg, err := registry.New(ctx, registry.Options{Shelf: store.Shelf(), Log: tel.Log})
	if err != nil {
		l.Close()
		return nil, err
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	srv := &http.Server{Handler: reg, ReadHeaderTimeout: 30 * time.Second, MaxHeaderBytes: 1 << 20, ErrorLog: quietLog(tel)}
	go srv.Serve(l) //nolint:errcheck // ends with ErrServerClosed
	return func() {
		if err := errors.Join(srv.Close(), reg.Close()); err != nil {
			tel.Log.Warn("stop serving the registry", "err", err)
		}
	}, nil
}

// registryTLS is nil for plain HTTP, which is for loopback alone: whoever reaches the
// registry can write to it.
func (p *process) registryTLS() (*tls.Config, error) {
	cert, key := p.cfg.RegistryCert, p.cfg.RegistryKey
	if (cert == "") != (key == "") {
		return nil, &Fault{What: "a certificate of the registry without its key, or a key without a certificate", Do: "give both --registry-tls-cert-file and --registry-tls-private-key-file"}
	}
	if cert == "" {
		host, _, err := net.SplitHostPort(p.cfg.Registry)
		if err != nil {
			return nil, &Fault{What: fmt.Sprintf("--registry=%s is not an address and port", p.cfg.Registry), Do: "write it like localhost:5000"}
		}
		if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
			return nil, &Fault{What: fmt.Sprintf("--registry=%s would let others on the network write images without a password or encryption", p.cfg.Registry),
				Do: "listen on localhost, or give a certificate with --registry-tls-cert-file and --registry-tls-private-key-file"}
		}
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, &Fault{What: "the registry's certificate cannot be read", Do: "check --registry-tls-cert-file and --registry-tls-private-key-file", Err: err}
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}, nil
}
