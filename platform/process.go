package platform

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/h2"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/auth/pki"
	"skiff.dev/skiff/cli/localapi"
	"skiff.dev/skiff/client"
	"skiff.dev/skiff/engine/build"
	"skiff.dev/skiff/engine/dockerapi"
	"skiff.dev/skiff/engine/local"
	"skiff.dev/skiff/kernel/resident"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/network"
	"skiff.dev/skiff/node"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/telemetry"
)

// process is one running skiff: what start has made, in that order.
type process struct {
	cfg      *Config
	instance string
	tel      *telemetry.Telemetry
	started  time.Time

	nodeIP       netip.Addr
	dns          netip.Addr // of the cluster's DNS service
	services     netip.Prefix
	pods         netip.Prefix
	apiListener  net.Listener
	nodeListener net.Listener
	pki          *pki.Material
	store        store.Store
	shared       bool        // other servers may write the store too
	leads        atomic.Bool // this server runs what one of them alone may run
	rotation     *rotation   // nil: an encryption configuration rules
	table        *kinds.Table
	scheme       *runtime.Scheme
	api          *apiserver.Server
	schemas      *openapi.Handler
	client       *client.InProcess
	identity     *identity
	engine       *local.Local
	builder      *build.Builder
	buildNetwork buildNetwork
	network      *network.Network
	node         *node.Node
	docker       *dockerapi.Server

	// adopted tells that containers of an earlier process ran when this one began.
	adopted bool
	// abandoned tells that the start failed and nothing of it may stay.
	abandoned bool

	ready    atomic.Bool
	steps    []localapi.Step
	stopping chan localapi.StopRequest
	giveUp   context.CancelFunc // ends a start that is under way
	failed   chan error

	mu    sync.Mutex
	parts []*part
}

// part is a running component.
type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    atomic.Pointer[error]
}

// start is the procedure of starting, step by step.
func (p *process) start(ctx context.Context, s *stepper) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) (undo func(), err error)
	}{
		{"check the machine", p.checkMachine},
		{"take the data directory", p.takeDirectories},
		{"choose addresses", p.chooseAddresses},
		{"make certificates", p.makeCertificates},
		{"open the store", p.openStore},
		{"start the API server", p.startAPI},
		{"open the container engine", p.openEngine},
		{"serve the registry", p.serveRegistry},
		{"connect the network", p.connectNetwork},
		{"start controllers and scheduler", p.startControllers},
		{"start the node", p.startNode},
		{"serve the Docker API", p.serveDocker},
		{"answer local commands", p.startLocal},
		{"open the API to pods", p.openToPods},
		{"wait until the node is ready", p.waitReady},
	} {
		if p.cfg.DisableNode && slices.Contains(ofNodes, step.name) {
			continue
		}
		if p.cfg.EngineOnly && !slices.Contains(ofEngine, step.name) {
			continue
		}
		if err := s.run(ctx, step.name, step.do); err != nil {
			return err
		}
	}
	// Most of the program's pages were read by the start alone, or by what it has left
	// to do.
	p.forgetStart()
	p.component("settling", func(ctx context.Context) error {
		select {
		case <-time.After(settled):
			debug.FreeOSMemory() // garbage of the start, which nothing would collect for a while
			p.forgetStart()
			<-ctx.Done()
		case <-ctx.Done():
		}
		return ctx.Err()
	})
	return nil
}

// settled is how long after its start a process has done what is done once.
const settled = 45 * time.Second

func (p *process) forgetStart() {
	if err := resident.Drop(); err != nil {
		p.tel.For("platform").Log.Warn("memory of the start is kept", "err", err)
	}
}

// ofNodes are the steps that a control plane alone leaves out.
var ofNodes = []string{"open the container engine", "serve the registry", "connect the network", "start the node", "serve the Docker API", "open the API to pods", "wait until the node is ready"}

// ofEngine are the steps of an engine without a cluster.
var ofEngine = []string{"check the machine", "take the data directory", "open the container engine", "serve the registry", "serve the Docker API", "answer local commands"}

// serveTLS serves h on l as a part of the process.
func (p *process) serveTLS(name string, l net.Listener, h http.Handler, cfg *tls.Config) {
	cfg.NextProtos = []string{"h2", "http/1.1"}
	cfg.MinVersion = tls.VersionTLS12
	// Answers are small, or gathered: small first records would only be more of them.
	cfg.DynamicRecordSizingDisabled = true
	srv := &http.Server{
		Handler:           h,
		TLSConfig:         cfg,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       3 * time.Minute,
		MaxHeaderBytes:    1 << 20,
		ErrorLog:          quietLog(p.tel.For(name)),
	}
	// A peer that takes nothing for a minute is gone; watches end sooner by themselves.
	h2.Configure(srv, h2.Options{MaxStreams: 1000, IdleTimeout: srv.IdleTimeout, WriteTimeout: time.Minute})
	p.component(name, func(ctx context.Context) error {
		errs := make(chan error, 1)
		go func() { errs <- srv.ServeTLS(h2.Listener(l), "", "") }()
		select {
		case err := <-errs:
			return err
		case <-ctx.Done():
			return srv.Close()
		}
	})
}
