package images

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }

// snapshotter is the name of how layers are kept.
const snapshotter = "overlayfs"

func (a *Area) inspect(w http.ResponseWriter, r *route.Request) error {
	want, err := platform(r.Form.Get("platform"))
	if err != nil {
		return err
	}
	if r.Before("1.49") {
		want = nil
	}
	all := r.Since("1.48") && r.Bool("manifests")
	if all && want != nil {
		return route.Invalidf("conflicting options: manifests and platform options cannot both be set")
	}
	rec, records, err := a.find(r.Context(), r.Var("name"))
	if err != nil {
		return err
	}
	vs, err := a.o.Store.Variants(r.Context(), rec.Target)
	if err != nil {
		return err
	}
	v := best(vs, want)
	if v == nil && want != nil {
		return errNoPlatform(r.Var("name"), want)
	}
	uses, err := a.users(r.Context())
	if err != nil {
		return err
	}
	out, err := inspected(*rec, withTarget(records, rec.Target.Digest), vs, v, uses)
	if err != nil {
		return err
	}
	if want != nil {
		d := v.Descriptor
		out.ID, out.Descriptor = d.Digest.String(), &d
	}
	if !all {
		out.Manifests = nil
	}
	return a.writeInspect(w, r, out, rec.Parent.String())
}

// inspected is what is known of an image; v is the variant that is shown, nil for
// none.
func inspected(rec engine.ImageRecord, same []engine.ImageRecord, vs []engine.Variant, v *engine.Variant, uses []*engine.Container) (*imagetypes.InspectResponse, error) {
	target := rec.Target
	out := &imagetypes.InspectResponse{ID: target.Digest.String(), Descriptor: &target}
	out.RepoTags, out.RepoDigests = tagsOf(same)
	out.RepoTags, out.RepoDigests = list(out.RepoTags), list(out.RepoDigests)
	for _, s := range same {
		if s.UpdatedAt.After(out.Metadata.LastTagTime) {
			out.Metadata.LastTagTime = s.UpdatedAt
		}
	}
	out.Manifests, out.Size, _ = manifests(vs, uses)
	cfg, err := config(v)
	if err != nil {
		return nil, err
	}
	out.Config = &cfg.Config
	out.Author, out.Architecture, out.Variant, out.Os, out.OsVersion = cfg.Author, cfg.Architecture, cfg.Variant, cfg.OS, cfg.OSVersion
	if n := len(cfg.History); n > 0 {
		out.Comment = cfg.History[n-1].Comment
	}
	if cfg.Created != nil {
		out.Created = cfg.Created.Format(time.RFC3339Nano)
	}
	out.RootFS.Type = cfg.RootFS.Type
	for _, d := range cfg.RootFS.DiffIDs {
		out.RootFS.Layers = append(out.RootFS.Layers, d.String())
	}
	if v != nil {
		out.Size = v.Content
		for _, l := range v.Chains {
			out.Size += l.Size
		}
	}
	return out, nil
}

// writeInspect gives the answer the members that the API version has.
func (a *Area) writeInspect(w http.ResponseWriter, r *route.Request, out *imagetypes.InspectResponse, parent string) error {
	extra := map[string]any{}
	if r.Before("1.44") {
		extra["VirtualSize"] = out.Size
		if out.Created == "" {
			out.Created = time.Time{}.Format(time.RFC3339Nano)
		}
	}
	if r.Before("1.45") {
		extra["Container"], extra["ContainerConfig"] = "", nil
	}
	if r.Before("1.48") {
		out.Descriptor = nil
	}
	if r.Since("1.52") {
		if parent != "" {
			extra["Parent"] = parent
		}
		return writeMerged(w, out, extra)
	}
	extra["Parent"], extra["Comment"], extra["DockerVersion"], extra["Author"] = parent, out.Comment, "", out.Author
	config := map[string]any{"Cmd": nil, "Entrypoint": nil, "Env": nil, "Labels": nil, "OnBuild": nil, "User": "", "Volumes": nil, "WorkingDir": ""}
	if r.Before("1.50") {
		for _, k := range []string{"AttachStderr", "AttachStdin", "AttachStdout", "OpenStdin", "StdinOnce", "Tty"} {
			config[k] = false
		}
		for _, k := range []string{"Domainname", "Hostname", "Image"} {
			config[k] = ""
		}
	}
	extra["Config"] = config
	out.GraphDriver = &storage.DriverData{Name: snapshotter}
	return writeMerged(w, out, extra)
}

// writeMerged answers with v and those members of extra that it does not have.
func writeMerged(w http.ResponseWriter, v any, extra map[string]any) error {
	if len(extra) == 0 {
		return route.WriteJSON(w, http.StatusOK, v)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	merge(m, extra)
	return route.WriteJSON(w, http.StatusOK, m)
}

func merge(m, extra map[string]any) {
	for k, v := range extra {
		have, ok := m[k]
		inner, isMap := have.(map[string]any)
		add, addMap := v.(map[string]any)
		switch {
		case !ok:
			m[k] = v
		case isMap && addMap:
			merge(inner, add)
		}
	}
}

func (a *Area) history(w http.ResponseWriter, r *route.Request) error {
	want, err := platform(r.Form.Get("platform"))
	if err != nil {
		return err
	}
	if r.Before("1.48") {
		want = nil
	}
	rec, records, err := a.find(r.Context(), r.Var("name"))
	if err != nil {
		return err
	}
	vs, err := a.o.Store.Variants(r.Context(), rec.Target)
	if err != nil {
		return err
	}
	v := best(vs, want)
	if v == nil {
		return errNoPlatform(r.Var("name"), want)
	}
	cfg, err := config(v)
	if err != nil {
		return err
	}
	out := make([]*imagetypes.HistoryResponseItem, len(cfg.History))
	layer := 0
	for i, h := range cfg.History {
		item := &imagetypes.HistoryResponseItem{ID: "<missing>", Comment: h.Comment, CreatedBy: h.CreatedBy}
		if h.Created != nil {
			item.Created = h.Created.Unix()
		}
		if !h.EmptyLayer {
			if layer >= len(v.Chains) {
				return route.Internalf("unable to find the size of the layer")
			}
			item.Size = v.Chains[layer].Size
			layer++
		}
		out[len(out)-1-i] = item
	}
	at := rec.Target.Digest
	for i := 0; i < len(out) && at != ""; i++ {
		same := withTarget(records, at)
		if len(same) == 0 {
			break
		}
		out[i].ID = at.String()
		out[i].Tags, _ = tagsOf(same)
		at = same[0].Parent
	}
	if len(out) == 0 {
		out = nil // Docker's null
	}
	return route.WriteJSON(w, http.StatusOK, out)
}
