package platform

import (
	"context"
	"crypto/tls"
	"errors"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/local"
	"skiff.dev/skiff/node"
	"skiff.dev/skiff/volume"
)

func engineRoot(c *Config) string { return filepath.Join(c.Data, "engine") }

func (p *process) engineOptions() local.Options {
	return local.Options{
		Root:      engineRoot(p.cfg),
		RunDir:    filepath.Join(p.cfg.Run, "engine"),
		Instance:  p.instance,
		Telemetry: p.tel,
		Runtime:   p.cfg.Runtime,
	}
}

func (p *process) openEngine(ctx context.Context) (func(), error) {
	if err := takeTemporary(filepath.Join(engineRoot(p.cfg), "tmp")); err != nil {
		return nil, err
	}
	e, err := local.Open(ctx, p.engineOptions())
	switch {
	case errors.Is(err, local.ErrNoRuntime):
		return nil, noRuntime(p.cfg.Runtime, err)
	case err != nil:
		return nil, err
	}
	p.engine = e
	all, err := e.List(ctx, nil)
	for _, c := range all {
		p.adopted = p.adopted || c.State == engine.Running
	}
	if err != nil {
		return func() { e.Close() }, err
	}
	p.builder, err = p.openBuilder()
	return func() {
		if p.builder != nil {
			if err := p.builder.Close(); err != nil {
				p.tel.Log.Warn("close the builder", "err", err)
			}
		}
		e.Close()
	}, err
}

// noRuntime tells what was tried and what would help.
func noRuntime(asked string, err error) error {
	what := "no OCI runtime works on this machine: neither crun nor runc"
	do := "install one: apt-get install crun"
	if asked != "" {
		what = "the OCI runtime of --runtime=" + asked + " does not work on this machine"
		do = "give the path of crun or runc, or leave the flag out; to install one: apt-get install crun"
	}
	var none *local.RuntimeError
	if errors.As(err, &none) {
		for _, why := range none.Tried {
			what += "\n  " + why.Error()
		}
	}
	return &Fault{What: what, Do: do, Err: err}
}

// startNode runs this machine's node and serves its own API.
func (p *process) startNode(context.Context) (func(), error) {
	kubelet := p.as("system:node:"+p.cfg.NodeName, "kubelet", "system:nodes")
	volumes := volume.New(volume.Options{
		Reader:  p.client,
		Tokens:  volume.ClientTokens{Client: kubelet},
		RootDir: p.cfg.Data,
		Refresh: func(uid types.UID) { p.node.RefreshVolumes(uid) },
	})
	_, runtime := p.engine.Runtime()
	n, err := node.New(node.Options{
		Name:           p.cfg.NodeName,
		Client:         kubelet,
		Cache:          p.client,
		Engine:         p.engine,
		Network:        p.network,
		Volumes:        volumes,
		ClusterDNS:     []string{p.dns.String()},
		ClusterDomain:  p.cfg.ClusterDomain,
		NodeIPs:        []string{p.nodeIP.String()},
		Port:           int32(portOf(p.cfg.NodeListen)),
		RootDir:        p.cfg.Data,
		RunDir:         p.cfg.Run,
		StaticPods:     p.cfg.StaticPods,
		Prepare:        p.preparePod,
		Version:        kubernetesVersion,
		RuntimeVersion: "skiff://" + Version + "+" + runtime,
		Telemetry:      p.tel,
	})
	if err != nil {
		return nil, err
	}
	p.node = n
	p.component("node", n.Run)
	p.serveTLS("node-api", p.nodeListener, p.authorized(n.Handler()), &tls.Config{
		GetCertificate: p.pki.GetNodeCertificate,
		ClientAuth:     tls.RequestClientCert,
		ClientCAs:      p.pki.CA.Pool(),
	})
	return nil, nil
}

// startLocal serves the socket of commands on this machine.
func (p *process) startLocal(context.Context) (func(), error) {
	l := &localServer{status: p.status, stop: p.askToStop, rotate: p.rotateKey}
	if p.engine != nil {
		l.images = p.engine.Images()
	}
	return serveLocal(p.cfg.Run, l)
}

// waitReady returns when the API shows the node as Ready.
func (p *process) waitReady(ctx context.Context) (func(), error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	w, err := p.client.Watch(ctx, &corev1.NodeList{}, crclient.MatchingFields{"metadata.name": p.cfg.NodeName})
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	for {
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				return nil, errors.New("the watch of the node ended")
			}
			if n, ok := e.Object.(*corev1.Node); ok && nodeReady(n) {
				return nil, nil
			}
		case err := <-p.failed:
			return nil, err
		case <-ctx.Done():
			return nil, &Fault{What: "the node was not ready in time", Do: "read the log for what it waits for", Err: ctx.Err()}
		}
	}
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// preparePod gives a pod that comes from a file what the API server would give it,
// and judges it.
func (p *process) preparePod(pod *corev1.Pod) error {
	k, ok := p.table.ByGVK(corev1.SchemeGroupVersion.WithKind("Pod"))
	if !ok {
		return errors.New("no kind of pods")
	}
	if k.Default != nil {
		k.Default(pod)
	}
	if k.Validate != nil {
		return k.Validate(pod).ToAggregate()
	}
	return nil
}
