package imagestore

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
)

// AddLayer implements engine.Archives.
func (s *Store) AddLayer(ctx context.Context, base *imagespec.Descriptor, layer io.Reader, config engine.LayerConfig, name string) (engine.ImageRecord, error) {
	ctx = s.context(ctx)
	if name != "" {
		n, err := engine.NormalizeRef(name)
		if err != nil {
			return engine.ImageRecord{}, err
		}
		name = n
	}
	leased, done, err := s.withLease(ctx)
	if err != nil {
		return engine.ImageRecord{}, err
	}
	rec, err := s.addLayer(leased, base, layer, config, name)
	done()
	if err != nil {
		return rec, errors.Join(loadError(err), s.collect(ctx))
	}
	return rec, nil
}

func (s *Store) addLayer(ctx context.Context, base *imagespec.Descriptor, layer io.Reader, config engine.LayerConfig, name string) (rec engine.ImageRecord, err error) {
	m := imagespec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageManifest, Layers: []imagespec.Descriptor{}}
	var old []byte
	var diffIDs []digest.Digest
	parent := ""
	if base != nil {
		bm, err := images.Manifest(ctx, s.content, *base, s.platform)
		if err != nil {
			return rec, err
		}
		if old, err = content.ReadBlob(ctx, s.content, bm.Config); err != nil {
			return rec, err
		}
		var cfg imagespec.Image
		if err := json.Unmarshal(old, &cfg); err != nil {
			return rec, err
		}
		m.Layers, diffIDs, parent = append(m.Layers, bm.Layers...), cfg.RootFS.DiffIDs, base.Digest.String()
	}
	if layer != nil {
		d, diffID, err := s.storeLayer(ctx, layer)
		if err != nil {
			return rec, err
		}
		m.Layers, diffIDs = append(m.Layers, d), append(diffIDs, diffID)
	}
	cfg, err := config(old, diffIDs, layer != nil)
	if err != nil {
		return rec, err
	}
	if m.Config, err = s.storeBytes(ctx, imagespec.MediaTypeImageConfig, cfg); err != nil {
		return rec, err
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return rec, err
	}
	target, err := s.storeBytes(ctx, imagespec.MediaTypeImageManifest, raw)
	if err != nil {
		return rec, err
	}
	if err := s.verify(ctx, target); err != nil {
		return rec, err
	}
	here := true
	if err := s.unpack(ctx, target); errors.Is(err, errPlatform) {
		here = false
	} else if err != nil {
		return rec, err
	}
	rec = engine.ImageRecord{Name: name, Target: target, Parent: digest.Digest(parent)}
	if name != "" {
		return rec, s.name(ctx, naming{name: name, target: target, origin: loaded, parent: parent, foreign: !here, keep: true})
	}
	kept := images.Image{Target: target, Labels: map[string]string{labelOrigin: loaded}}
	if parent != "" {
		kept.Labels[labelParent] = parent
	}
	if !here {
		kept.Labels[labelForeign] = "true"
	}
	return rec, s.keepUnlessNamed(ctx, kept)
}

func (s *Store) storeBytes(ctx context.Context, mediaType string, b []byte) (imagespec.Descriptor, error) {
	d := imagespec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	err := content.WriteBlob(ctx, s.content, "bytes-"+d.Digest.String(), bytes.NewReader(b), d)
	if errdefs.IsAlreadyExists(err) {
		err = nil
	}
	return d, err
}

// storeLayer takes a tar in: compressed by gzip or zstd as it is, else compressed
// by gzip on all cores.
func (s *Store) storeLayer(ctx context.Context, r io.Reader) (d imagespec.Descriptor, diffID digest.Digest, err error) {
	in := bufio.NewReaderSize(r, 1<<16)
	magic, err := in.Peek(10)
	if err != nil && !errors.Is(err, io.EOF) {
		return d, "", err
	}
	w, err := content.OpenWriter(ctx, s.content, content.WithRef(fmt.Sprintf("layer-%p", in)))
	if err != nil {
		return d, "", err
	}
	defer w.Close()
	kind := compression.DetectCompression(magic)
	d.MediaType = imagespec.MediaTypeImageLayerGzip
	diff := digest.Canonical.Digester()
	var size int64
	switch kind {
	case compression.Gzip, compression.Zstd:
		if kind == compression.Zstd {
			d.MediaType = imagespec.MediaTypeImageLayerZstd
		}
		size, err = s.keepCompressed(w, in, diff)
	default:
		size, err = s.compress(w, in, diff)
	}
	if err != nil {
		return d, "", err
	}
	d.Digest, d.Size, diffID = w.Digest(), size, diff.Digest()
	err = w.Commit(ctx, size, d.Digest, content.WithLabels(map[string]string{labels.LabelUncompressed: diffID.String()}))
	if errdefs.IsAlreadyExists(err) {
		err = nil
	}
	return d, diffID, err
}

func (s *Store) keepCompressed(w io.Writer, in io.Reader, diff digest.Digester) (int64, error) {
	count := &countingWriter{w: w}
	tee := io.TeeReader(in, count)
	plain, err := compression.DecompressStream(tee)
	if err != nil {
		return 0, err
	}
	defer plain.Close()
	bounded, err := s.boundedBySpace(plain)
	if err != nil {
		return 0, err
	}
	if _, err := io.Copy(diff.Hash(), bounded); err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, tee) // what follows the compressed stream
	return count.n, err
}

func (s *Store) compress(w io.Writer, in io.Reader, diff digest.Digester) (int64, error) {
	plain, err := compression.DecompressStream(in)
	if err != nil {
		return 0, err
	}
	defer plain.Close()
	bounded, err := s.boundedBySpace(plain)
	if err != nil {
		return 0, err
	}
	count := &countingWriter{w: w}
	z := newParallelGzip(count)
	_, err = io.Copy(io.MultiWriter(z, diff.Hash()), bounded)
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	return count.n, err
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
