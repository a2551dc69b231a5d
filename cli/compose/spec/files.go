package spec

import (
	"path"
	"strconv"

	"github.com/compose-spec/compose-go/v2/types"
)

// File is a config or secret as a container sees it. One with Inline has its
// content in the project and is copied into the container before it starts; the
// others are mounted from Source, a file of the host.
type File struct {
	Source   string
	Target   string
	Content  string
	Inline   bool
	Mode     int64
	UID, GID int
}

// Files are the configs and secrets of a service, in the file's order.
func Files(p *types.Project, s types.ServiceConfig) []File {
	var files []File
	for _, ref := range s.Configs {
		files = appendFile(files, p, types.FileReferenceConfig(ref), types.FileObjectConfig(p.Configs[ref.Source]), "/")
	}
	for _, ref := range s.Secrets {
		files = appendFile(files, p, types.FileReferenceConfig(ref), types.FileObjectConfig(p.Secrets[ref.Source]), "/run/secrets/")
	}
	return files
}

func appendFile(files []File, p *types.Project, ref types.FileReferenceConfig, o types.FileObjectConfig, dir string) []File {
	f := File{Target: ref.Target, Mode: 0o444, Source: o.File}
	if f.Target == "" {
		f.Target = ref.Source
	}
	if !path.IsAbs(f.Target) {
		f.Target = dir + f.Target
	}
	if ref.Mode != nil {
		f.Mode = int64(*ref.Mode)
	}
	f.UID, f.GID = number(ref.UID), number(ref.GID)
	switch {
	case o.Content != "":
		f.Content, f.Inline = o.Content, true
	case o.Environment != "":
		f.Content, f.Inline = p.Environment[o.Environment], true
	}
	return append(files, f)
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0 // a name: only numbers can be written into an archive
	}
	return n
}
