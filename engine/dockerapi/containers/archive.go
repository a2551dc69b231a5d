package containers

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/bundle"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// pathOf reads the path of an archive request: absolute, with what its end says of
// it ("/" or "/.").
func pathOf(r *route.Request) (string, error) {
	p := r.Form.Get("path")
	if p == "" {
		return "", route.Invalidf("bad parameter: path cannot be empty")
	}
	clean := path.Clean("/" + p)
	switch {
	case clean == "/":
	case strings.HasSuffix(p, "/."):
		clean += "/."
	case strings.HasSuffix(p, "/"):
		clean += "/"
	}
	return clean, nil
}

// statIn looks at a path in the container's root, in which it is called: links on
// the way are followed, a link itself is not unless the path says so by its end.
func statIn(p string) (container.PathStat, error) {
	st, err := os.Lstat(p)
	if err != nil {
		return container.PathStat{}, err
	}
	out := container.PathStat{Name: path.Base(p), Size: st.Size(), Mode: st.Mode(), Mtime: st.ModTime()}
	if strings.HasSuffix(p, "/.") {
		out.Name = "."
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		to, err := os.Readlink(p)
		if err != nil {
			return out, err
		}
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(path.Clean(p)), to)
		}
		out.LinkTarget = path.Clean(to)
	}
	return out, nil
}

func statHeader(w http.ResponseWriter, st container.PathStat) error {
	b, err := json.Marshal(&st)
	if err != nil {
		return err
	}
	w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(b))
	return nil
}

// inRoot calls f in the root of a container, with its mounts.
func (a *Area) inRoot(ctx context.Context, c *cont, write bool, f func() error) error {
	v := a.view(c)
	o := engine.RootOptions{Write: write}
	if !v.running {
		o.Binds = a.binds(&v)
	}
	return a.o.Engine.InRoot(ctx, v.ID, o, f)
}

func notThere(err error, p, name string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return route.NotFoundf("Could not find the file %s in container %s", p, name)
	}
	return err
}

// place is the container and the path in it that a request is about.
func (a *Area) place(r *route.Request) (c *cont, path string, err error) {
	if path, err = pathOf(r); err != nil {
		return nil, "", err
	}
	c, err = a.find(r.Var("name"))
	return c, path, err
}

func (a *Area) statPath(w http.ResponseWriter, r *route.Request) error {
	c, p, err := a.place(r)
	if err != nil {
		return err
	}
	var st container.PathStat
	if err := a.inRoot(r.Context(), c, false, func() (err error) { st, err = statIn(p); return err }); err != nil {
		return notThere(err, p, r.Var("name"))
	}
	if err := statHeader(w, st); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (a *Area) getArchive(w http.ResponseWriter, r *route.Request) error {
	c, p, err := a.place(r)
	if err != nil {
		return err
	}
	err = a.inRoot(r.Context(), c, false, func() error {
		st, err := statIn(p)
		if err != nil {
			return err
		}
		if err := statHeader(w, st); err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/x-tar")
		return writeTar(r.Context(), w, p, st.Name, true)
	})
	if err != nil {
		w.Header().Del("X-Docker-Container-Path-Stat")
		return notThere(err, p, r.Var("name"))
	}
	a.publish(c, events.ActionArchivePath)
	return nil
}

func (a *Area) putArchive(w http.ResponseWriter, r *route.Request) error {
	c, p, err := a.place(r)
	if err != nil {
		return err
	}
	v := a.view(c)
	body, err := decompressed(r.Body)
	if err != nil {
		return err
	}
	o := extractOptions{keepDirs: r.Bool("noOverwriteDirNonDir")}
	err = a.inRoot(r.Context(), c, true, func() error {
		real, err := filepath.EvalSymlinks(p)
		if err != nil {
			return err
		}
		st, err := os.Stat(real)
		if err != nil {
			return err
		}
		if !st.IsDir() {
			return route.Invalidf("extraction point is not a directory")
		}
		if err := writable(&v, real); err != nil {
			return err
		}
		if r.Bool("copyUIDGID") && v.Config.User != "" {
			passwd, _ := readBounded("/etc/passwd")
			group, _ := readBounded("/etc/group")
			u, err := bundle.LookupUser(v.Config.User, nil, passwd, group)
			if err != nil {
				return err
			}
			o.owner = &owner{int(u.UID), int(u.GID)}
		}
		return extract(r.Context(), real, body, o)
	})
	if err != nil {
		return notThere(err, p, r.Var("name"))
	}
	a.publish(c, events.ActionExtractToDir)
	w.WriteHeader(http.StatusOK)
	return nil
}

// writable refuses paths that the container may not write.
func writable(v *view, p string) error {
	var at *mountPoint
	for i := range v.Mounts {
		m := &v.Mounts[i]
		if (p == m.Destination || strings.HasPrefix(p, m.Destination+"/")) && (at == nil || len(m.Destination) > len(at.Destination)) {
			at = m
		}
	}
	switch {
	case at == nil && v.HostConfig.ReadonlyRootfs:
		return route.Invalidf("container rootfs is marked read-only")
	case at != nil && !at.RW:
		return route.Invalidf("mounted volume is marked read-only")
	}
	return nil
}

func (a *Area) changes(w http.ResponseWriter, r *route.Request) error {
	c, err := a.find(r.Var("name"))
	if err != nil {
		return err
	}
	list, err := a.o.Engine.Changes(r.Context(), c.rec.ID)
	if err != nil {
		return err
	}
	var out []container.FilesystemChange
	for _, x := range list {
		out = append(out, container.FilesystemChange{Kind: container.ChangeType(x.Kind), Path: x.Path})
	}
	return route.WriteJSON(w, http.StatusOK, out)
}

func (a *Area) export(w http.ResponseWriter, r *route.Request) error {
	c, err := a.find(r.Var("name"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	err = a.o.Engine.InRoot(r.Context(), c.rec.ID, engine.RootOptions{Bare: true}, func() error {
		return writeTar(r.Context(), w, "/", "", false)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", r.Var("name"), err)
	}
	a.publish(c, events.ActionExport)
	return nil
}

// maxAccounts bounds a container's /etc/passwd and /etc/group.
const maxAccounts = 4 << 20

func readBounded(p string) ([]byte, error) {
	f, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fs.ErrInvalid
	}
	return io.ReadAll(io.LimitReader(f, maxAccounts))
}

// decompressed reads a tar that may be compressed.
func decompressed(r io.Reader) (io.Reader, error) {
	in := bufio.NewReader(r)
	head, err := in.Peek(4)
	if err != nil && len(head) == 0 {
		return in, nil //nolint:nilerr // an empty body is an empty archive
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(in)
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(in), nil
	}
	return in, nil
}
