package containers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// storageDriver is the name of how layers are kept.
const storageDriver = "overlayfs"

// oldNetwork are the settings of the default bridge, beside those of all networks,
// as clients before 1.52 read them.
type oldNetwork struct {
	EndpointID          string
	Gateway             netip.Addr
	GlobalIPv6Address   netip.Addr
	GlobalIPv6PrefixLen int
	IPAddress           netip.Addr
	IPPrefixLen         int
	IPv6Gateway         netip.Addr
	MacAddress          network.HardwareAddr
}

func (a *Area) inspect(w http.ResponseWriter, r *route.Request) error {
	c, err := a.find(r.Var("name"))
	if err != nil {
		return err
	}
	v := a.view(c)
	out, err := a.show(r.Context(), &v)
	if err != nil {
		return err
	}
	if r.Bool("size") {
		own, all, err := a.o.Engine.Size(r.Context(), v.ID)
		if err != nil {
			return err
		}
		out.SizeRw, out.SizeRootFs = &own, &all
	}
	if r.Before("1.45") {
		for name, ep := range out.NetworkSettings.Networks {
			if container.NetworkMode(name).IsUserDefined() {
				ep.Aliases = withOldAliases(ep.Aliases, &v)
			}
		}
	}
	if r.Before("1.48") {
		out.ImageManifestDescriptor = nil
	}
	if r.Before("1.56") && v.HostConfig.Umask != nil {
		h := *v.HostConfig
		h.Umask = nil
		out.HostConfig = &h
	}
	if r.Since("1.52") {
		out.Storage = &storage.Storage{RootFS: &storage.RootFSStorage{Snapshot: &storage.RootFSStorageSnapshot{Name: storageDriver}}}
		return route.WriteJSON(w, http.StatusOK, out)
	}
	out.GraphDriver = &storage.DriverData{Name: storageDriver}
	flat, err := flatten(out, v.MAC)
	if err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusOK, flat)
}

// withOldAliases adds the names that were among the aliases before 1.45.
func withOldAliases(aliases []string, v *view) []string {
	out := slices.Clone(aliases)
	for _, name := range []string{v.ID[:12], v.Config.Hostname} {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// flatten adds what clients of old look for.
func flatten(out *container.InspectResponse, mac network.HardwareAddr) (map[string]any, error) {
	b, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	var flat map[string]any
	if err := json.Unmarshal(b, &flat); err != nil {
		return nil, err
	}
	if cfg, ok := flat["Config"].(map[string]any); ok && len(mac) > 0 {
		cfg["MacAddress"] = mac
	}
	settings, ok := flat["NetworkSettings"].(map[string]any)
	ep := out.NetworkSettings.Networks[network.NetworkBridge]
	if !ok || ep == nil {
		return flat, nil
	}
	old := oldNetwork{
		ep.EndpointID, ep.Gateway, ep.GlobalIPv6Address, ep.GlobalIPv6PrefixLen, ep.IPAddress, ep.IPPrefixLen, ep.IPv6Gateway, ep.MacAddress,
	}
	if b, err = json.Marshal(&old); err != nil {
		return nil, err
	}
	return flat, json.Unmarshal(b, &settings)
}

// stamp is a time as Docker writes it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// show is a container as inspect answers it.
func (a *Area) show(ctx context.Context, v *view) (*container.InspectResponse, error) {
	nets, ports, err := a.settings(ctx, v)
	if err != nil {
		return nil, err
	}
	out := &container.InspectResponse{
		ID: v.ID, Created: stamp(v.Created), Path: v.Path, Args: v.Args, Image: v.ImageID, Name: "/" + v.Name, RestartCount: v.RestartCount,
		Driver: storageDriver, Platform: "linux", HostConfig: v.HostConfig, Config: v.Config, Mounts: mountPoints(v.Mounts),
		ImageManifestDescriptor: v.Image,
		State: &container.State{
			Status: v.status(), Running: v.running || v.restarting, Paused: v.paused, Restarting: v.restarting, OOMKilled: v.OOM, Pid: v.pid,
			ExitCode: v.ExitCode, Error: v.Error, StartedAt: stamp(v.StartedAt), FinishedAt: stamp(v.FinishedAt), Health: v.health,
		},
		NetworkSettings: &container.NetworkSettings{Ports: ports, Networks: nets},
	}
	if sec, err := securityOptions(v.HostConfig.SecurityOpt); err == nil {
		out.AppArmorProfile = sec.apparmor
	}
	if v.Args == nil {
		out.Args = []string{}
	}
	if len(v.execs) > 0 {
		slices.Sort(v.execs)
		out.ExecIDs = v.execs
	}
	if !v.StartedAt.IsZero() || v.Error != "" {
		dir := a.dir(v.ID)
		out.ResolvConfPath, out.HostnamePath, out.HostsPath = filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hostname"), filepath.Join(dir, "hosts")
		if v.HostConfig.LogConfig.Type != logNone && (!v.StartedAt.IsZero() || strings.HasPrefix(v.Error, taskPreamble)) {
			out.LogPath = a.logPath(v.ID)
		}
	}
	if v.running && !v.HostConfig.NetworkMode.IsContainer() {
		sum := sha256.Sum256([]byte("sandbox " + v.ID + stamp(v.StartedAt)))
		out.NetworkSettings.SandboxID, out.NetworkSettings.SandboxKey = hex.EncodeToString(sum[:]), a.sandboxKey(ctx, v.ID)
	}
	return out, nil
}

func (a *Area) sandboxKey(ctx context.Context, id string) string {
	boxes, err := a.o.Engine.Sandboxes(ctx)
	if err != nil {
		return ""
	}
	for _, b := range boxes {
		if b.Spec.ID == id {
			return b.NetNS
		}
	}
	return ""
}

func mountPoints(in []mountPoint) []container.MountPoint {
	out := []container.MountPoint{}
	for _, m := range in {
		if m.Type == mount.TypeTmpfs && !m.Listed {
			continue
		}
		shown := m.MountPoint
		if m.Unnamed {
			shown.Name = ""
		}
		out = append(out, shown)
	}
	return out
}
