package recordeddocker

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"skiff.dev/skiff/test/recorded/tree"
)

// Entry is one member of an archive. A name that ends in "/" is a directory; else
// it is what the first of Link, Hard, Fixture, Tar says, or a file with Content.
type Entry struct {
	Name    string  `json:"name"`
	Content string  `json:"content"`
	Link    string  `json:"link"`
	Hard    string  `json:"hard"`
	Fixture string  `json:"fixture"`
	Tar     []Entry `json:"tar"`
	Mode    string  `json:"mode"`  // octal
	Owner   string  `json:"owner"` // uid:gid
}

// epoch is when every member of an archive was changed.
var epoch = time.Unix(1600000000, 0)

// archive writes the entries as USTAR, in order.
func archive(entries []Entry, vars map[string]any) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	digests := map[string]any{}
	for i := range entries {
		e := &entries[i]
		h := tar.Header{Name: e.Name, ModTime: epoch, Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Mode: 0o644}
		content, err := e.content(vars, digests)
		if err != nil {
			return nil, err
		}
		switch {
		case strings.HasSuffix(h.Name, "/"):
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		case e.Link != "":
			h.Typeflag, h.Mode, h.Linkname = tar.TypeSymlink, 0o777, e.Link
		case e.Hard != "":
			h.Typeflag, h.Linkname = tar.TypeLink, e.Hard
		case e.Fixture != "":
			h.Mode = 0o755
		}
		if e.Mode != "" {
			if h.Mode, err = strconv.ParseInt(e.Mode, 8, 64); err != nil {
				return nil, fmt.Errorf("mode of %s: %w", e.Name, err)
			}
		}
		if e.Owner != "" {
			if _, err := fmt.Sscanf(e.Owner, "%d:%d", &h.Uid, &h.Gid); err != nil {
				return nil, fmt.Errorf("owner of %s: %w", e.Name, err)
			}
		}
		if h.Typeflag != tar.TypeReg {
			content = nil
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		digests["sha256:"+e.Name] = hex.EncodeToString(sum[:])
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// content is what a file holds. digests are those of the entries before it.
func (e *Entry) content(vars, digests map[string]any) ([]byte, error) {
	switch {
	case e.Fixture != "":
		return busybox()
	case e.Tar != nil:
		return archive(e.Tar, vars)
	}
	return []byte(tree.Substitute(tree.Substitute(e.Content, vars), digests)), nil
}
