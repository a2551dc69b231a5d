package containers

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/moby/moby/api/types/container"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
)

// Source is a container of which an image is made.
type Source struct {
	ID, Name string
	Config   *container.Config
	Image    *imagespec.Descriptor // nil: made of nothing
	Running  bool
	// Pause stops its processes until resume is called.
	Pause func(ctx context.Context) (resume func(), err error)
	// Layer is what it has changed, as a layer's tar; nil where that is nothing.
	Layer func(ctx context.Context) (io.ReadCloser, error)
}

// Source finds a container for a commit.
func (a *Area) Source(_ context.Context, name string) (*Source, error) {
	c, err := a.find(name)
	if err != nil {
		return nil, err
	}
	v := a.view(c)
	return &Source{
		ID: v.ID, Name: v.Name, Config: v.Config, Image: v.Image, Running: v.running,
		Pause: func(ctx context.Context) (func(), error) { return a.pauseFor(ctx, c) },
		Layer: func(ctx context.Context) (io.ReadCloser, error) { return a.layer(ctx, v.ID) },
	}, nil
}

// pauseFor pauses a container that runs and is not paused yet.
func (a *Area) pauseFor(ctx context.Context, c *cont) (resume func(), err error) {
	if v := a.view(c); !v.running || v.paused {
		return func() {}, nil
	}
	if err := a.o.Engine.Pause(ctx, c.rec.ID); err != nil {
		return nil, err
	}
	return func() {
		a.notify("resume", c.rec.ID, a.o.Engine.Resume(context.WithoutCancel(ctx), c.rec.ID))
	}, nil
}

// whiteout begins the name of what a layer takes away.
const whiteout = ".wh."

// layer is a container's changes as a tar.
func (a *Area) layer(ctx context.Context, id string) (io.ReadCloser, error) {
	list, err := a.o.Engine.Changes(ctx, id)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	r, w := io.Pipe()
	go func() {
		err := a.o.Engine.InRoot(ctx, id, engine.RootOptions{Bare: true}, func() error { return writeChanges(ctx, w, list) })
		w.CloseWithError(err)
	}()
	return r, nil
}

func writeChanges(ctx context.Context, w io.Writer, list []engine.Change) error {
	t := &tarWriter{ctx: ctx, w: tar.NewWriter(w), links: map[[2]uint64]string{}}
	for _, c := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := strings.TrimPrefix(c.Path, "/")
		if c.Kind == engine.Deleted {
			dir, base := path.Split(name)
			if err := t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: dir + whiteout + base, ModTime: c.ModTime}); err != nil {
				return err
			}
			continue
		}
		st, err := os.Lstat(c.Path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile
		}
		if err == nil {
			err = t.add(c.Path, name, st)
		}
		if err != nil {
			return err
		}
	}
	return t.w.Close()
}
