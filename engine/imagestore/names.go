package imagestore

import (
	"context"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// naming is a name that an image gets.
type naming struct {
	name   string // normalised
	target imagespec.Descriptor
	origin string // pulled or loaded
	parent string // digest of the image it was made of, or ""
	// foreign says that it cannot run here.
	foreign bool
	// keep leaves what had the name in the list without one; else only a container
	// that uses it keeps it.
	keep bool
}

// name gives an image a name, which may have been another's. Callers hold a lease on
// the target.
func (s *Store) name(ctx context.Context, n naming) error {
	s.use.Lock()
	defer s.use.Unlock()
	n.target.Platform = nil
	record := images.Image{Name: n.name, Target: n.target, Labels: map[string]string{labelOrigin: n.origin}}
	if n.parent != "" {
		record.Labels[labelParent] = n.parent
	}
	if n.foreign {
		record.Labels[labelForeign] = "true"
	}
	old, err := s.images.Get(ctx, n.name)
	switch {
	case errdefs.IsNotFound(err):
		_, err = s.images.Create(ctx, record)
	case err == nil && old.Target.Digest == n.target.Digest:
		if old.Labels[labelOrigin] != n.origin {
			_, err = s.images.Update(ctx, record, "labels."+labelOrigin)
		}
	case err == nil:
		if err = s.keepOld(ctx, old, n.keep); err == nil {
			_, err = s.images.Update(ctx, record, "target", "labels")
		}
		s.forget()
	}
	if err != nil {
		return err
	}
	if err := s.images.Delete(ctx, unnamed+n.target.Digest.String()); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}

// keepOld keeps what a name points to that is about to be another's, if that was
// its last name.
func (s *Store) keepOld(ctx context.Context, old images.Image, keep bool) error {
	if !keep {
		u, err := s.load(ctx, old.Target)
		if err != nil {
			return nil // it cannot be used by a container
		}
		if _, used := s.inUse(u.id.String()); !used {
			return nil
		}
		kept := images.Image{Name: unnamed + old.Target.Digest.String(), Target: old.Target}
		if _, err := s.images.Create(ctx, kept); err != nil && !errdefs.IsAlreadyExists(err) {
			return err
		}
		return nil
	}
	all, err := s.images.List(ctx)
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Target.Digest == old.Target.Digest && i.Name != old.Name && i.Labels[labelDeleted] == "" {
			return nil
		}
	}
	return s.keepUnnamed(ctx, old, labelKeep)
}

// Release deletes images without names that no container uses any more. The
// engine calls it when a container is removed.
func (s *Store) Release(ctx context.Context) error {
	ctx = s.context(ctx)
	s.use.Lock()
	defer s.use.Unlock()
	all, err := s.grouped(ctx)
	if err != nil {
		return err
	}
	gone := false
	for id, recs := range all {
		if len(recs) != 1 || !strings.HasPrefix(recs[0].Name, unnamed) || recs[0].Labels[labelKeep] != "" {
			continue
		}
		if _, used := s.inUse(id.String()); used {
			continue
		}
		if err := s.images.Delete(ctx, recs[0].Name); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		gone = true
	}
	if !gone {
		return nil
	}
	s.forget()
	return s.collect(ctx)
}

// labelKeep marks an unnamed image that was loaded so: it stays until it is
// removed by its id.
const labelKeep = "skiff.dev/keep"

// labelForeign marks a name of what cannot run here: an artifact, or an image for
// other platforms.
const labelForeign = "skiff.dev/foreign"

// labelOrigin of a name says how the image came to have it last.
const (
	labelOrigin = "skiff.dev/origin"
	pulled      = "pulled"
	loaded      = "loaded"
)
