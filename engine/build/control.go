package build

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/cache/remotecache"
	"github.com/moby/buildkit/cache/remotecache/inline"
	"github.com/moby/buildkit/cache/remotecache/local"
	"github.com/moby/buildkit/cache/remotecache/registry"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/frontend"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/grpcerrors"
	bkworker "github.com/moby/buildkit/worker"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/grpc"
)

// historyAge and historyEntries bound what is remembered of builds that have ended.
const historyAge, historyEntries = 48 * time.Hour, int64(50)

func (b *Builder) newController(o *opened) (*control.Controller, error) {
	workers := &bkworker.Controller{}
	if err := workers.Add(o.worker); err != nil {
		return nil, err
	}
	builtin := forwarder.NewGatewayForwarder(workers.Infos(), dockerfile.Build)
	gw, err := gateway.NewGatewayFrontend(workers.Infos(), nil)
	if err != nil {
		return nil, err
	}
	keys, err := bboltcachestorage.NewStore(filepath.Join(b.o.Root, "cache.db"))
	if err != nil {
		return nil, err
	}
	history, err := boltutil.SafeOpen(filepath.Join(b.o.Root, "history.db"), 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, errors.Join(err, keys.Close())
	}
	entries := historyEntries
	c, err := control.NewController(control.Opt{
		SessionManager:   o.sessions,
		WorkerController: workers,
		Frontends: map[string]frontend.Frontend{
			"dockerfile.v0": builtin,
			"gateway.v0":    &syntaxFrontend{gw, builtin, b.o.Store},
		},
		CacheManager: solver.NewCacheManager(background, "local", keys, bkworker.NewCacheResultStorage(workers)),
		ResolveCacheExporterFuncs: map[string]remotecache.ResolveCacheExporterFunc{
			"registry": registry.ResolveCacheExporterFunc(o.sessions, registryHosts()),
			"local":    local.ResolveCacheExporterFunc(o.sessions),
			"inline":   inline.ResolveCacheExporterFunc(),
		},
		ResolveCacheImporterFuncs: map[string]remotecache.ResolveCacheImporterFunc{
			"registry": registry.ResolveCacheImporterFunc(o.sessions, o.worker.ContentStore(), registryHosts()),
			"local":    local.ResolveCacheImporterFunc(o.sessions),
		},
		Entitlements:   []string{"network.host", "security.insecure"},
		HistoryDB:      history,
		HistoryConfig:  &config.HistoryConfig{MaxAge: config.Duration{Duration: historyAge}, MaxEntries: &entries},
		CacheStore:     keys,
		LeaseManager:   o.worker.LeaseManager(),
		ContentStore:   o.worker.ContentStore(),
		GarbageCollect: o.worker.GarbageCollect,
		GracefulStop:   o.stop,
	})
	if err != nil {
		return nil, errors.Join(err, history.Close(), keys.Close())
	}
	return c, nil
}

// unary makes errors travel with their details, and counts a build as work of the
// image store.
func (b *Builder) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	if solve, ok := req.(*controlapi.SolveRequest); ok {
		defer b.o.Store.Working()()
		preferLocal(solve)
		if err := b.nameGateway(solve.FrontendAttrs); err != nil {
			return nil, err
		}
		resp, err := grpcerrors.UnaryServerInterceptor(ctx, req, info, h)
		if err != nil && fullDisk(err) {
			if err := b.relieve(ctx); err != nil {
				b.tel.Log.Warn("free what a build has left on a full disk", "err", err)
			}
		}
		return resp, err
	}
	return grpcerrors.UnaryServerInterceptor(ctx, req, info, h)
}

// preferLocal takes base images from the store where a client does not say from where,
// as Docker's engine does. BuildKit by itself would ask their registry first, which is
// a wait for what is there already, and for ever so long where no name is resolved.
func preferLocal(solve *controlapi.SolveRequest) {
	const mode = "image-resolve-mode"
	if solve.Frontend == "" || solve.FrontendAttrs[mode] != "" {
		return
	}
	if solve.FrontendAttrs == nil {
		solve.FrontendAttrs = map[string]string{}
	}
	solve.FrontendAttrs[mode] = "local"
}

// client of the Builder's own server.
func (b *Builder) client(ctx context.Context) (*client.Client, error) {
	o, err := b.ready()
	if err != nil {
		return nil, err
	}
	c, err := client.New(ctx, "", client.WithContextDialer(o.local.dial), client.WithSessionDialer(o.dialSession))
	if err != nil {
		return nil, fmt.Errorf("connect to the builder: %w", err)
	}
	return c, nil
}
