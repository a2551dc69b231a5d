package containers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
	kmount "skiff.dev/skiff/kernel/mount"
)

// holds is the label of the engine's containers that hold the images of mounts; its
// value is the id of the container whose mounts they are. They are never started: what
// they have is a snapshot, which keeps the image's layers.
const holds = "dev.skiff.docker.holds"

// Mounter makes the mounts on the host that a run binds into its container.
type Mounter interface {
	// Layers mounts directories, the uppermost first, read-only at target.
	Layers(layers []string, target string) error
	// Below binds what sub names in root at target; nothing outside of root is reached.
	Below(root, sub, target string) error
	// Clear takes away all mounts below dir, and dir.
	Clear(dir string) error
}

// kernelMounter is the Mounter of a real machine.
type kernelMounter struct{}

func (kernelMounter) Layers(layers []string, target string) error {
	if err := os.MkdirAll(target, 0o700); err != nil {
		return err
	}
	return kmount.Overlay{Lower: layers}.Mount(target)
}

func (kernelMounter) Below(root, sub, target string) error { return kmount.BindIn(root, sub, target) }

func (kernelMounter) Clear(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := kmount.UnmountBelow(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// mountsDir is where a run's mounts on the host are.
func (a *Area) mountsDir(id string) string { return filepath.Join(a.dir(id), "mounts") }

// placeOf is a mount's place in that directory.
func (a *Area) placeOf(id, kind, destination string) string {
	sum := sha256.Sum256([]byte(destination))
	return filepath.Join(a.mountsDir(id), kind+"-"+hex.EncodeToString(sum[:8]))
}

// holdImage finds the image of a mount and keeps its layers for it.
func (a *Area) holdImage(ctx context.Context, c *cont, m *mountPoint) error {
	img, err := a.o.Images.Find(ctx, m.Source, nil)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(c.rec.ID + " " + m.Destination))
	m.Holder = hex.EncodeToString(sum[:])
	m.Source = a.placeOf(c.rec.ID, "image", m.Destination)
	_, err = a.o.Engine.Create(ctx, engine.ContainerSpec{
		ID: m.Holder, Image: img.EngineID, Labels: map[string]string{holds: c.rec.ID}, Command: []string{"/"}, User: "0",
	})
	return err
}

// mountImage mounts the image that is held for a mount, and says where.
func (a *Area) mountImage(ctx context.Context, v *view, m *mountPoint) (string, error) {
	upper, lower, err := a.o.Engine.Layers(ctx, m.Holder)
	if err != nil {
		return "", err
	}
	return m.Source, a.o.Mounter.Layers(append([]string{upper}, lower...), m.Source)
}

// below is the part of a mount's source that its subpath names.
func (a *Area) below(v *view, m *mountPoint, source string) (string, error) {
	if m.Subpath == "" {
		return source, nil
	}
	if err := os.MkdirAll(a.mountsDir(v.ID), 0o700); err != nil {
		return "", err
	}
	to := a.placeOf(v.ID, "sub", m.Destination)
	if err := a.o.Mounter.Below(source, m.Subpath, to); err != nil {
		at := filepath.Join(source, m.Subpath)
		if errors.Is(err, fs.ErrNotExist) {
			return "", route.NotFoundf("cannot access path %s: lstat %s: no such file or directory", at, at)
		}
		return "", route.Internal(fmt.Errorf("cannot access path %s: %w", at, err))
	}
	return to, nil
}

// releaseImages lets go of the images of a container's mounts.
func (a *Area) releaseImages(ctx context.Context, id string) error {
	held, err := a.o.Engine.List(ctx, map[string]string{holds: id})
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range held {
		if err := a.o.Engine.Remove(ctx, h.Spec.ID, true); !errors.Is(err, engine.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// dropHolders lets go of images that are held for containers which are not there.
func (a *Area) dropHolders(ctx context.Context) error {
	all, err := a.o.Engine.List(ctx, nil)
	if err != nil {
		return err
	}
	for _, k := range all {
		of, ok := k.Spec.Labels[holds]
		if !ok || a.all[of] != nil {
			continue
		}
		if err := a.o.Engine.Remove(ctx, k.Spec.ID, true); err != nil && !errors.Is(err, engine.ErrNotFound) {
			return err
		}
	}
	return nil
}
