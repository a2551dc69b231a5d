package compose

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/moby/go-archive"
	"github.com/moby/moby/client"
)

// copyOut writes a path of a container to a path of the host, or as an archive to
// standard output.
func copyOut(ctx context.Context, d containers, id, from, to string, follow bool, s streams) error {
	rebase := ""
	if follow {
		if st, err := d.ContainerStatPath(ctx, id, client.ContainerStatPathOptions{Path: from}); err == nil && st.Stat.LinkTarget != "" {
			target := st.Stat.LinkTarget
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(from), target)
			}
			from, rebase = archive.GetRebaseName(from, target)
		}
	}
	got, err := d.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: from})
	if err != nil {
		return err
	}
	defer got.Content.Close()
	if to == "-" {
		_, err := io.Copy(s.out, got.Content)
		return err
	}
	info := archive.CopyInfo{Path: from, Exists: true, IsDir: got.Stat.Mode.IsDir(), RebaseName: rebase}
	content := got.Content
	if rebase != "" {
		_, base := archive.SplitPathDirEntry(info.Path)
		content = archive.RebaseArchiveEntries(content, base, rebase)
	}
	abs, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	return archive.CopyTo(content, info, archive.PreserveTrailingDotOrSeparator(abs, to))
}

// copyIn writes a path of the host, or an archive from standard input, into a
// container.
func copyIn(ctx context.Context, d containers, id, from, to string, follow, owners bool, s streams) error {
	target := archive.CopyInfo{Path: to}
	if st, err := d.ContainerStatPath(ctx, id, client.ContainerStatPathOptions{Path: to}); err == nil {
		target.Exists, target.IsDir = true, st.Stat.Mode.IsDir()
	}
	if from == "-" {
		if !target.IsDir {
			return errors.New("the destination of an archive must be a directory")
		}
		_, err := d.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: to, Content: s.in, CopyUIDGID: owners})
		return err
	}
	abs, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	source, err := archive.CopyInfoSourcePath(archive.PreserveTrailingDotOrSeparator(abs, from), follow)
	if err != nil {
		return err
	}
	raw, err := archive.TarResource(source)
	if err != nil {
		return err
	}
	defer raw.Close()
	dir, content, err := archive.PrepareArchiveCopy(raw, source, target)
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = d.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: dir, Content: content, CopyUIDGID: owners})
	return err
}
