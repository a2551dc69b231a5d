package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"skiff.dev/skiff/cli"
	"skiff.dev/skiff/engine/dockerapi"
	"skiff.dev/skiff/engine/dockerapi/containers"
	"skiff.dev/skiff/engine/dockerapi/event"
	"skiff.dev/skiff/engine/dockerapi/networks"
	"skiff.dev/skiff/engine/dockerapi/swarm"
	"skiff.dev/skiff/engine/dockerapi/system"
	"skiff.dev/skiff/engine/dockerapi/volumes"
	"skiff.dev/skiff/kernel/cgroup"
)

// dockerAreas is the list of the areas of the Docker API, in the order in which
// their routes are tried. It is called when the first request comes.
func (p *process) dockerAreas(ctx context.Context) ([]dockerapi.Area, error) {
	events := new(event.Hub)
	log := p.tel.For("docker").Log
	vols, err := volumes.Open(volumes.Options{Root: filepath.Join(p.cfg.Data, "docker", "volumes"), Events: events, Log: log})
	if err != nil {
		return nil, err
	}
	source := &commitSource{}
	imgs, err := p.dockerImages(events, source)
	if err != nil {
		return nil, err
	}
	nets, err := p.dockerNetworks(ctx, events, log, source.networkChanged)
	if err != nil {
		return nil, err
	}
	p.buildNetwork.set(nets)
	conts, err := p.dockerContainers(ctx, containers.Options{Images: imageFinder{imgs}, Networks: nets, Volumes: volumeUser{vols}, Events: events, Log: log})
	if err != nil {
		return nil, errors.Join(err, nets.Close())
	}
	source.set(conts)
	sys, err := p.dockerSystem(events, log)
	if err != nil {
		return nil, err
	}
	sys.Volumes, sys.Containers = vols, containerCounter{conts}
	built := p.dockerBuilds(events, log)
	sys.Builds = built
	sys.Images = imgs
	about, err := system.New(*sys)
	if err != nil {
		return nil, err
	}
	netArea := networkArea{networks.New(networks.Options{Networks: nets, Containers: conts, Events: events}), nets}
	return []dockerapi.Area{netArea, about, conts, imgs, built, volumes.New(vols), swarm.New()}, nil
}

// dockerSystem is what the Docker API tells of this engine as a whole, without the
// other areas.
func (p *process) dockerSystem(events *event.Hub, log *slog.Logger) (*system.Options, error) {
	groups, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	registries, err := p.cfg.registries()
	if err != nil {
		return nil, err
	}
	path, version := p.engine.Runtime()
	return &system.Options{
		Version: Version, Root: filepath.Join(p.cfg.Data, "docker"), Events: events, Log: log,
		Registries: &system.Hosts{Agent: "skiff/" + Version, Mirrors: registries.Mirrors["docker.io"], Insecure: registries.Insecure},
		Runtime:    "runc", RuntimePath: path, RuntimeVersion: version,
		NetworkDrivers: []string{"bridge", "host", "null"}, LogDrivers: []string{"json-file"},
		Firewall: "nftables", CgroupVersion: groups.Version(),
	}, nil
}

// serveDocker listens for clients of the Docker Engine API.
func (p *process) serveDocker(context.Context) (func(), error) {
	tel := p.tel.For("docker")
	p.docker = dockerapi.New(dockerapi.Options{Version: Version, Areas: p.dockerAreas, Log: tel.Log})
	srv := &http.Server{
		Handler: p.docker, ReadHeaderTimeout: 30 * time.Second, MaxHeaderBytes: 1 << 20, ErrorLog: quietLog(tel),
	}
	undo := func() {
		errs := errors.Join(srv.Close(), p.docker.Close())
		if errs != nil {
			tel.Log.Warn("stop serving the Docker API", "err", errs)
		}
	}
	paths := []string{filepath.Join(p.cfg.Run, cli.DockerSocket)}
	if p.cfg.DockerSocket != "" && p.cfg.DockerSocket != paths[0] {
		paths = append(paths, p.cfg.DockerSocket)
	}
	for _, path := range paths {
		l, err := listenDocker(path)
		if err != nil {
			return undo, err
		}
		go srv.Serve(l) //nolint:errcheck // ends with ErrServerClosed
	}
	if containers.Any(p.dockerDir()) {
		// Some may have to be started again, and the end of others is to be noticed.
		go func() {
			if err := p.docker.Begin(context.Background()); err != nil {
				tel.Log.Error("Docker's containers are not looked after", "err", err)
			}
		}()
	}
	return undo, nil
}

// listenDocker makes the socket: for root, and for the group docker where there is
// one. A socket on which somebody answers is not taken away.
func listenDocker(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, &Fault{What: fmt.Sprintf("another program serves %s", path), Do: "stop that program, or give another place with --docker-socket"}
	}
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket == 0 {
		return nil, &Fault{What: fmt.Sprintf("%s exists and is no socket", path), Do: "give another place with --docker-socket"}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	mode := os.FileMode(0o600)
	if g, err := user.LookupGroup("docker"); err == nil {
		gid, err := strconv.Atoi(g.Gid)
		if err == nil && os.Chown(path, 0, gid) == nil {
			mode = 0o660
		}
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
