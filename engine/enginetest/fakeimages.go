package enginetest

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
)

// ImageConfig is the configuration of an image that runs command.
func ImageConfig(command ...string) imagespec.Image {
	img := imagespec.Image{Config: imagespec.ImageConfig{Entrypoint: command, Env: []string{engine.DefaultPath}}}
	img.Architecture, img.OS = "amd64", "linux"
	return img
}

type fakeImages struct {
	f      *Fake
	mu     sync.Mutex
	byName map[string]*engine.Image
	loaded map[string]bool // names
	remote map[string]*engine.Image
	pulls  int
}

func (i *fakeImages) init(f *Fake) {
	i.f, i.byName, i.remote, i.loaded = f, map[string]*engine.Image{}, map[string]*engine.Image{}, map[string]bool{}
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func fakeImage(ref string, cfg imagespec.Image) *engine.Image {
	raw, _ := json.Marshal(cfg)
	img := &engine.Image{ID: digestOf(append(raw, ref...)), CreatedAt: time.Now(), Config: cfg, Size: int64(len(raw))}
	img.Digest = digestOf([]byte(img.ID))
	return img
}

func normal(ref string) string {
	n, err := engine.NormalizeRef(ref)
	if err != nil {
		panic("enginetest: " + err.Error())
	}
	return n
}

// AddImage makes an image present, as if it had been loaded; it panics if ref is invalid.
func (f *Fake) AddImage(ref string, cfg imagespec.Image) *engine.Image {
	f.images.mu.Lock()
	defer f.images.mu.Unlock()
	n := normal(ref)
	img := fakeImage(n, cfg)
	f.images.byName[n], f.images.loaded[n] = img, true
	return f.images.show(img)
}

// AddRemote makes an image that Pull finds; it panics if ref is invalid.
func (f *Fake) AddRemote(ref string, cfg imagespec.Image) {
	f.images.mu.Lock()
	defer f.images.mu.Unlock()
	n := normal(ref)
	f.images.remote[n] = fakeImage(n, cfg)
}

// Pulls is how many pulls have begun.
func (f *Fake) Pulls() int {
	f.images.mu.Lock()
	defer f.images.mu.Unlock()
	return f.images.pulls
}

// show is a copy of img with all of its names; i.mu is held.
func (i *fakeImages) show(img *engine.Image) *engine.Image {
	out := *img
	for name, other := range i.byName {
		if other.ID != img.ID {
			continue
		}
		out.Names = append(out.Names, name)
		if i.loaded[name] {
			out.Loaded = append(out.Loaded, name)
		}
		if n, err := reference.ParseNormalizedNamed(name); err == nil {
			out.Digests = append(out.Digests, n.Name()+"@"+img.Digest)
		}
	}
	slices.Sort(out.Names)
	slices.Sort(out.Loaded)
	slices.Sort(out.Digests)
	out.Digests = slices.Compact(out.Digests)
	return &out
}

func (i *fakeImages) Pull(ctx context.Context, ref string, o engine.PullOptions) (*engine.Image, error) {
	fail := func(reason engine.PullReason, err error) (*engine.Image, error) {
		return nil, &engine.PullError{Ref: ref, Reason: reason, Err: err}
	}
	n, err := engine.NormalizeRef(ref)
	if err != nil {
		return fail(engine.PullInvalidName, err)
	}
	i.mu.Lock()
	i.pulls++
	i.mu.Unlock()
	i.f.mu.Lock()
	hook := i.f.OnPull
	i.f.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, n, o); err != nil {
			var pe *engine.PullError
			if errors.As(err, &pe) {
				return nil, err
			}
			return fail(engine.PullOther, err)
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	img, ok := i.remote[n]
	if !ok {
		return fail(engine.PullNotFound, fmt.Errorf("%s: %w", n, engine.ErrNotFound))
	}
	i.byName[n], i.loaded[n] = img, false
	return i.show(img), nil
}

// Load takes a docker archive of which it reads manifest.json and the configs
// alone.
func (i *fakeImages) Load(ctx context.Context, r io.Reader, name string) ([]*engine.Image, error) {
	type entry struct {
		Config   string
		RepoTags []string
	}
	var manifest []entry
	files := map[string][]byte{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", engine.ErrInvalid, err)
		}
		if !strings.HasSuffix(h.Name, ".json") {
			continue
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", engine.ErrInvalid, err)
		}
		files[h.Name] = b
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil || len(manifest) == 0 {
		return nil, fmt.Errorf("%w: no manifest.json in the archive", engine.ErrInvalid)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	var out []*engine.Image
	for _, m := range manifest {
		var cfg imagespec.Image
		if err := json.Unmarshal(files[m.Config], &cfg); err != nil {
			return nil, fmt.Errorf("%w: config %s: %w", engine.ErrInvalid, m.Config, err)
		}
		img := &engine.Image{ID: digestOf(files[m.Config]), CreatedAt: time.Now(), Config: cfg}
		img.Digest = digestOf([]byte(img.ID))
		tags := m.RepoTags
		if len(tags) == 0 && name != "" {
			tags = []string{name}
		}
		for _, t := range tags {
			n, err := engine.NormalizeRef(t)
			if err != nil {
				return nil, err
			}
			i.byName[n], i.loaded[n] = img, true
		}
		out = append(out, i.show(img))
	}
	return out, nil
}

func (i *fakeImages) LoadDir(ctx context.Context, dir, name string) ([]*engine.Image, error) {
	if _, err := os.Stat(dir + "/index.json"); err != nil {
		return nil, fmt.Errorf("%w: %s is no OCI layout: %w", engine.ErrInvalid, dir, err)
	}
	return nil, fmt.Errorf("%w: the fake engine loads docker archives only", engine.ErrInvalid)
}

func (i *fakeImages) find(ref string) (*engine.Image, string, error) {
	if n, err := engine.NormalizeRef(ref); err == nil {
		if img, ok := i.byName[n]; ok {
			return img, n, nil
		}
		for name, img := range i.byName {
			if named, err := reference.ParseNormalizedNamed(name); err == nil && named.Name()+"@"+img.Digest == n {
				return img, "", nil
			}
		}
	}
	if engine.IsImageID(ref) {
		var found *engine.Image
		for _, img := range i.byName {
			if strings.HasPrefix(img.ID, "sha256:"+strings.TrimPrefix(ref, "sha256:")) {
				if found != nil && found.ID != img.ID {
					return nil, "", fmt.Errorf("image id %s is ambiguous: %w", ref, engine.ErrInvalid)
				}
				found = img
			}
		}
		if found != nil {
			return found, "", nil
		}
	}
	return nil, "", fmt.Errorf("image %s: %w", ref, engine.ErrNotFound)
}

func (i *fakeImages) Get(ctx context.Context, ref string) (*engine.Image, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	img, _, err := i.find(ref)
	if err != nil {
		return nil, err
	}
	return i.show(img), nil
}

func (i *fakeImages) List(ctx context.Context) ([]*engine.Image, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	seen := map[string]*engine.Image{}
	for _, img := range i.byName {
		if seen[img.ID] == nil {
			seen[img.ID] = i.show(img)
		}
	}
	out := make([]*engine.Image, 0, len(seen))
	for _, img := range seen {
		out = append(out, img)
	}
	slices.SortFunc(out, func(a, b *engine.Image) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

func (i *fakeImages) Remove(ctx context.Context, ref string) error {
	i.f.mu.Lock()
	used := map[string]string{}
	for id, c := range i.f.containers {
		used[c.now.ImageID] = id
	}
	i.f.mu.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	img, name, err := i.find(ref)
	if err != nil {
		return err
	}
	names := i.show(img).Names
	if name != "" && len(names) > 1 {
		delete(i.byName, name)
		return nil
	}
	if id, ok := used[img.ID]; ok {
		return fmt.Errorf("image %s is used by container %s: %w", ref, id, engine.ErrInUse)
	}
	for _, n := range names {
		delete(i.byName, n)
	}
	return nil
}

func (i *fakeImages) Usage(ctx context.Context) (engine.DiskUsage, error) {
	return engine.DiskUsage{Free: 1 << 30, Total: 1 << 30, InodesFree: 1 << 20}, nil
}
