package build

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/util/bklog"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/buildkit/version"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"

	"skiff.dev/skiff/engine/imagestore"
	"skiff.dev/skiff/kernel/cgroup"
	"skiff.dev/skiff/telemetry"
)

// Store is what a Builder needs of the image store (engine/imagestore.Store).
type Store interface {
	Parts() imagestore.Parts
	Context(context.Context) context.Context
	Working() (done func())
	Resolve(ctx context.Context, ref string) (images.Image, error)
	Named(context.Context) ([]images.Image, error)
	Adopt(ctx context.Context, target imagespec.Descriptor, top string, names []string) error
	Collect(context.Context) error
}

// Network gives the containers of RUN a network namespace of their own, connected
// as a container of a user would be.
type Network interface {
	// Join makes a namespace and returns its path; leave takes it away.
	Join(ctx context.Context, hostname string) (path string, leave func() error, err error)
	// Gateway is the machine's address in that network, for the extra host
	// "host-gateway"; the zero Addr is none.
	Gateway() (netip.Addr, error)
}

// Options of New.
type Options struct {
	Root  string // what lasts: cache records, and what is being made
	Store Store
	// Runtime is asked when the first build begins.
	Runtime func() Runtime
	// CgroupParent is the group below which build containers are.
	CgroupParent string
	Cgroups      cgroup.Tree
	// Network of builds that do not ask for host or none; nil is the host's.
	Network Network
	// Limits of the cache; the zero value is a share of the disk.
	Limits    Limits
	Telemetry *telemetry.Telemetry
}

// Builder builds images. It is safe for concurrent use.
type Builder struct {
	o   Options
	tel *telemetry.Telemetry
	// contexts are the directories of the builds of this process.
	contexts contexts
	room     *reserve

	mu     sync.Mutex
	open   *opened
	closed bool
}

// opened is what exists from the first build on.
type opened struct {
	worker   *worker
	control  *control.Controller
	sessions *session.Manager
	server   *grpc.Server
	// local is where the clients in this process are served.
	local *pipeListener
	stop  chan struct{}
}

// ErrClosed is what a Builder answers after Close.
var ErrClosed = errors.New("the builder is closed")

// New returns a Builder that has opened nothing. What a process that was killed has
// left running or mounted is taken away.
func New(o Options) (*Builder, error) {
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	b := &Builder{o: o, tel: o.Telemetry.For("build"), room: newReserve(o.Root)}
	if err := b.sweep(); err != nil {
		return nil, fmt.Errorf("clean up after builds that were cut off: %w", err)
	}
	return b, nil
}

// used tells whether there ever was a build.
func (b *Builder) used() bool {
	_, err := os.Stat(filepath.Join(b.o.Root, "cache.db"))
	return err == nil
}

// ready opens the Builder if it is not open.
func (b *Builder) ready() (*opened, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, ErrClosed
	}
	if b.open != nil {
		return b.open, nil
	}
	bklog.L = silent()
	version.Version = libraryVersion()
	o, err := b.begin()
	if err != nil {
		return nil, fmt.Errorf("begin to build: %w", err)
	}
	b.open = o
	return o, nil
}

// libraryVersion is that of the BuildKit in this program, which clients are told.
func libraryVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version.Version
	}
	for _, m := range info.Deps {
		if m.Path == version.Package {
			return m.Version
		}
	}
	return version.Version
}

func (b *Builder) begin() (_ *opened, err error) {
	if err := os.MkdirAll(b.o.Root, 0o711); err != nil {
		return nil, err
	}
	if err := b.room.fill(); err != nil {
		return nil, err
	}
	o := &opened{stop: make(chan struct{})}
	if o.sessions, err = session.NewManager(); err != nil {
		return nil, err
	}
	if o.worker, err = b.newWorker(); err != nil {
		return nil, err
	}
	if o.control, err = b.newController(o); err != nil {
		return nil, errors.Join(err, o.worker.Close())
	}
	o.server = grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.UnaryInterceptor(b.unary), grpc.StreamInterceptor(grpcerrors.StreamServerInterceptor))
	o.control.Register(o.server)
	o.local = newPipeListener()
	go o.server.Serve(o.local) //nolint:errcheck // ends with the listener
	return o, nil
}

// maxMessage bounds one message of BuildKit's protocol.
const maxMessage = 16 << 20

// Close ends running builds and closes the cache.
func (b *Builder) Close() error {
	b.mu.Lock()
	o := b.open
	b.open, b.closed = nil, true
	b.mu.Unlock()
	if o == nil {
		return nil
	}
	close(o.stop)
	o.server.Stop()
	return o.control.Close()
}

// ServeGRPC speaks BuildKit's protocol on a connection until it ends.
func (b *Builder) ServeGRPC(ctx context.Context, conn net.Conn) error {
	o, err := b.ready()
	if err != nil {
		return err
	}
	return o.local.serve(ctx, conn)
}

// dialSession gives a session of this process to the sessions' manager, without the
// server in between.
func (o *opened) dialSession(ctx context.Context, _ string, meta map[string][]string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		o.sessions.HandleConn(context.WithoutCancel(ctx), theirs, meta) //nolint:errcheck // ends with the session
	}()
	return ours, nil
}

// ServeSession serves a client's session, with its files and secrets, until it ends.
// header is that of the request that opened it.
func (b *Builder) ServeSession(ctx context.Context, conn net.Conn, header http.Header) error {
	o, err := b.ready()
	if err != nil {
		return err
	}
	return o.sessions.HandleConn(ctx, conn, header)
}
