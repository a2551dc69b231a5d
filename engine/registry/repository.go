package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	leasePrefix = "repository/"
	// labelMedia of content is the media type of a manifest; labelSubject the digest
	// that it refers to.
	labelMedia   = "skiff.dev/registry.media-type"
	labelSubject = "skiff.dev/registry.subject"
)

// repository is what is known of one; its fields are guarded by Server.mu. The lease
// and the names in the store are the truth that lasts.
type repository struct {
	members map[digest.Digest]member
	tags    map[string]digest.Digest
}

// member is a blob or a manifest of a repository.
type member struct {
	size    int64
	media   string        // of a manifest, "" is a blob
	subject digest.Digest // of a manifest that refers to another
	since   time.Time
}

func leaseOf(name string) leases.Lease { return leases.Lease{ID: leasePrefix + name} }

func resourceOf(d digest.Digest) leases.Resource {
	return leases.Resource{ID: d.String(), Type: "content"}
}

// load reads all repositories.
func (s *Server) load(ctx context.Context) error {
	all, err := s.o.Shelf.Leases().List(ctx)
	if err != nil {
		return err
	}
	for _, l := range all {
		name, ok := strings.CutPrefix(l.ID, leasePrefix)
		if !ok {
			continue
		}
		r := &repository{members: map[digest.Digest]member{}, tags: map[string]digest.Digest{}}
		res, err := s.o.Shelf.Leases().ListResources(ctx, l)
		if err != nil {
			return err
		}
		for _, x := range res {
			if x.Type != "content" {
				continue
			}
			info, err := s.o.Shelf.Content().Info(ctx, digest.Digest(x.ID))
			if errdefs.IsNotFound(err) {
				continue // a crash came between the lease and the content
			}
			if err != nil {
				return err
			}
			r.members[info.Digest] = memberOf(info)
		}
		s.repos[name] = r
	}
	names, err := s.o.Shelf.Names().List(ctx)
	if err != nil {
		return err
	}
	for _, n := range names {
		i := strings.LastIndexByte(n.Name, ':')
		if i < 0 || s.repos[n.Name[:i]] == nil {
			continue
		}
		s.repos[n.Name[:i]].tags[n.Name[i+1:]] = n.Target.Digest
	}
	return nil
}

func memberOf(info content.Info) member {
	return member{size: info.Size, media: info.Labels[labelMedia], subject: digest.Digest(info.Labels[labelSubject]), since: info.CreatedAt}
}

// has tells whether a repository has a blob or manifest.
func (s *Server) has(name string, d digest.Digest) (member, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repos[name]
	if r == nil {
		return member{}, false
	}
	m, ok := r.members[d]
	return m, ok
}

// anywhere tells whether any repository has a blob.
func (s *Server) anywhere(d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.repos {
		if _, ok := r.members[d]; ok {
			return true
		}
	}
	return false
}

// hold makes the repository's lease if it is not there and puts a digest on it:
// before the content comes, so that it is never without.
func (s *Server) hold(ctx context.Context, name string, d digest.Digest) error {
	l := leaseOf(name)
	_, err := s.o.Shelf.Leases().Create(ctx, leases.WithID(l.ID))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("repository %s: %w", name, err)
	}
	if err := s.o.Shelf.Leases().AddResource(ctx, l, resourceOf(d)); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("repository %s: %w", name, err)
	}
	return nil
}

// add notes that content which is there belongs to a repository that holds it.
func (s *Server) add(ctx context.Context, name string, d digest.Digest) error {
	info, err := s.o.Shelf.Content().Info(ctx, d)
	if err != nil {
		return err
	}
	m := memberOf(info)
	m.since = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repos[name]
	if r == nil {
		r = &repository{members: map[digest.Digest]member{}, tags: map[string]digest.Digest{}}
		s.repos[name] = r
	}
	r.members[d] = m
	return nil
}

// drop takes content from a repository, with the tags that point to it.
func (s *Server) drop(ctx context.Context, name string, d digest.Digest) error {
	s.mu.Lock()
	r := s.repos[name]
	var tags []string
	if r != nil {
		delete(r.members, d)
		for t, to := range r.tags {
			if to == d {
				tags = append(tags, t)
				delete(r.tags, t)
			}
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, t := range tags {
		errs = append(errs, gone(s.o.Shelf.Names().Delete(ctx, name+":"+t)))
	}
	errs = append(errs, gone(s.o.Shelf.Leases().DeleteResource(ctx, leaseOf(name), resourceOf(d))))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return s.o.Shelf.Collect(ctx)
}

func gone(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// setTag makes a tag point to a manifest of the repository.
func (s *Server) setTag(ctx context.Context, name, tag string, d imagespec.Descriptor) error {
	i := images.Image{Name: name + ":" + tag, Target: d}
	_, err := s.o.Shelf.Names().Create(ctx, i)
	if errdefs.IsAlreadyExists(err) {
		_, err = s.o.Shelf.Names().Update(ctx, i, "target")
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repos[name].tags[tag] = d.Digest
	return nil
}
