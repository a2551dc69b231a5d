package imagestore

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/image-spec/identity"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
)

// Labels by which the collector sees that a config refers to its snapshots.
const (
	labelSnapshot = "containerd.io/gc.ref.snapshot." + snapshotter
	labelView     = labelSnapshot + "/run"
)

// children lists what a manifest or index refers to, for this platform alone, and
// writes the labels that keep it.
func (s *Store) children() images.HandlerFunc { return s.childrenFor(s.platform) }

func (s *Store) childrenFor(match platforms.MatchComparer) images.HandlerFunc {
	h := images.ChildrenHandler(s.content)
	h = images.SetChildrenMappedLabels(s.content, h, nil)
	h = images.FilterPlatforms(h, match)
	return images.LimitManifests(h, match, 1)
}

// read returns an image's manifest and config for this platform.
func (s *Store) read(ctx context.Context, target imagespec.Descriptor) (imagespec.Manifest, imagespec.Image, error) {
	var cfg imagespec.Image
	m, err := images.Manifest(ctx, s.content, target, s.platform)
	if err != nil {
		return m, cfg, err
	}
	b, err := content.ReadBlob(ctx, s.content, m.Config)
	if err != nil {
		return m, cfg, err
	}
	if err := json.Unmarshal(b, &cfg); err != nil {
		return m, cfg, fmt.Errorf("%w: config %s: %w", engine.ErrCorrupt, m.Config.Digest, err)
	}
	return m, cfg, nil
}

func (s *Store) unpack(ctx context.Context, target imagespec.Descriptor) error {
	return s.unpackAs(ctx, target, present)
}

// unpackAs makes the snapshots of an image, if they are not there, and the view
// that names their directories. The context has a lease.
func (s *Store) unpackAs(ctx context.Context, target imagespec.Descriptor, o unpacking) error {
	m, cfg, err := s.read(ctx, target)
	if err != nil {
		return err
	}
	if cfg.OS != "" && cfg.Architecture != "" && !s.platform.Match(platforms.Normalize(cfg.Platform)) {
		return fmt.Errorf("the image is for %s: %w", platforms.Format(cfg.Platform), errPlatform)
	}
	if len(cfg.RootFS.DiffIDs) != len(m.Layers) {
		return fmt.Errorf("%w: %d layers but %d diff ids", engine.ErrCorrupt, len(m.Layers), len(cfg.RootFS.DiffIDs))
	}
	if len(m.Layers) == 0 {
		return nil
	}
	chain, err := s.applyLayers(ctx, m.Layers, cfg.RootFS.DiffIDs, o)
	if err != nil {
		return err
	}
	view := viewOf(chain)
	if _, err := s.snaps.View(ctx, view, chain); err != nil && !errdefs.IsAlreadyExists(err) {
		return err
	}
	info := content.Info{Digest: m.Config.Digest, Labels: map[string]string{labelSnapshot: chain, labelView: view}}
	_, err = s.content.Update(ctx, info, "labels."+labelSnapshot, "labels."+labelView)
	return err
}

func viewOf(chain string) string { return "run-" + chain }

// load returns what is known of an unpacked image.
func (s *Store) load(ctx context.Context, target imagespec.Descriptor) (*unpacked, error) {
	s.mu.Lock()
	u, ok := s.cache[target.Digest]
	s.mu.Unlock()
	if ok {
		return u, nil
	}
	m, cfg, err := s.read(ctx, target)
	if err != nil {
		return nil, err
	}
	u = &unpacked{id: m.Config.Digest, config: cfg, size: m.Config.Size}
	for _, l := range m.Layers {
		u.size += l.Size
	}
	if len(m.Layers) > 0 {
		u.view = viewOf(identity.ChainID(slices.Clone(cfg.RootFS.DiffIDs)).String())
		mounts, err := s.snaps.Mounts(ctx, u.view)
		if err != nil {
			return nil, fmt.Errorf("layers of %s: %w", target.Digest, err)
		}
		if u.lower, err = s.lowerDirs(mounts); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cache[target.Digest] = u
	return u, nil
}

// lowerDirs reads the directories of a view from the mounts that would make it.
func (s *Store) lowerDirs(mounts []mount.Mount) ([]string, error) {
	if len(mounts) != 1 {
		return nil, fmt.Errorf("a view of %d mounts", len(mounts))
	}
	dirs := []string{mounts[0].Source}
	if mounts[0].Type == "overlay" {
		dirs = nil
		for _, o := range mounts[0].Options {
			if l, ok := strings.CutPrefix(o, "lowerdir="); ok {
				dirs = strings.Split(l, ":")
			}
		}
	}
	out := make([]string, len(dirs))
	for i, d := range dirs {
		rel, err := filepath.Rel(s.Layers(), d)
		if err != nil || strings.HasPrefix(rel, "..") {
			return nil, fmt.Errorf("layer %s is not in %s", d, s.Layers())
		}
		out[i] = rel
	}
	return out, nil
}
