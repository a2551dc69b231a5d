// Package spec says in the words of the Docker API what a compose service is: the
// names and labels of its containers, networks and volumes, the hash that tells
// whether a container is still what the file wants, and the request that creates
// it. It is pure, seccomp profiles aside, which it reads. Names and labels are those of docker compose, so that it and
// this program see each other's projects. cli/compose/plan decides what to create,
// cli/compose does it.
package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// Labels of docker compose.
const (
	LabelProject    = "com.docker.compose.project"
	LabelService    = "com.docker.compose.service"
	LabelNumber     = "com.docker.compose.container-number"
	LabelHash       = "com.docker.compose.config-hash"
	LabelOneOff     = "com.docker.compose.oneoff"
	LabelImage      = "com.docker.compose.image"
	LabelDependsOn  = "com.docker.compose.depends_on"
	LabelWorkingDir = "com.docker.compose.project.working_dir"
	LabelFiles      = "com.docker.compose.project.config_files"
	LabelEnvFiles   = "com.docker.compose.project.environment_file"
	LabelReplace    = "com.docker.compose.replace"
	LabelSlug       = "com.docker.compose.slug"
	LabelNetwork    = "com.docker.compose.network"
	LabelVolume     = "com.docker.compose.volume"
	LabelVersion    = "com.docker.compose.version"
	// LabelFilesHash is ours: docker compose does not look at what it copies.
	LabelFilesHash   = "dev.skiff.compose.files-hash"
	ComposeVersion   = "2.40.3" // whose labels these are
	DefaultSeparator = "-"
)

// Name is the name of the n-th container of a service.
func Name(project string, s types.ServiceConfig, n int, separator string) string {
	if s.ContainerName != "" {
		return s.ContainerName
	}
	return strings.Join([]string{project, s.Name, strconv.Itoa(n)}, separator)
}

// Image is the reference from which containers of the service are made.
func Image(project string, s types.ServiceConfig, separator string) string {
	if s.Image != "" {
		return s.Image
	}
	return project + separator + s.Name
}

// Hash tells configurations of a service apart, as far as a container depends on
// them: not how many there are, how the image comes about or who waits for whom. It
// is docker compose's, so that neither makes the other's containers anew.
func Hash(s types.ServiceConfig) (string, error) {
	s.Build = nil
	s.PullPolicy = ""
	s.Scale = nil
	s.Profiles = nil
	s.DependsOn = nil
	if s.Deploy != nil {
		deploy := *s.Deploy
		deploy.Replicas = nil
		s.Deploy = &deploy
	}
	h, err := hashOf(s)
	if err != nil {
		return "", fmt.Errorf("hash of service %q: %w", s.Name, err)
	}
	return h, nil
}

// FilesHash tells contents of configs and secrets apart that are copied into a
// container when it is made, "" where a service has none.
func FilesHash(p *types.Project, s types.ServiceConfig) string {
	h := sha256.New()
	some := false
	for _, f := range Files(p, s) {
		if f.Inline {
			some = true
			fmt.Fprintf(h, "\x00%s\x00%s", f.Target, f.Content)
		}
	}
	if !some {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

// NetworkHash and VolumeHash tell whether an existing one is what the file wants.
func NetworkHash(n types.NetworkConfig) (string, error) { return hashOf(n) }

// VolumeHash: see NetworkHash.
func VolumeHash(v types.VolumeConfig) (string, error) {
	if v.Driver == "" {
		v.Driver = "local"
	}
	return hashOf(v)
}

func hashOf(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// labels are those of a container, the user's own included.
func labels(p *types.Project, s types.ServiceConfig, c Container, hash string) map[string]string {
	l := map[string]string{}
	for k, v := range s.Labels {
		l[k] = v
	}
	l[LabelProject] = p.Name
	l[LabelService] = s.Name
	l[LabelVersion] = ComposeVersion
	l[LabelOneOff] = "False"
	l[LabelHash] = hash
	l[LabelWorkingDir] = p.WorkingDir
	l[LabelFiles] = strings.Join(p.ComposeFiles, ",")
	l[LabelNumber] = strconv.Itoa(c.Number)
	l[LabelDependsOn] = dependsOn(s)
	l[LabelImage] = c.ImageID
	if h := FilesHash(p, s); h != "" {
		l[LabelFilesHash] = h
	}
	if len(c.EnvFiles) > 0 {
		l[LabelEnvFiles] = strings.Join(c.EnvFiles, ",")
	}
	if c.Replaces != "" {
		l[LabelReplace] = c.Replaces
	}
	if c.OneOff {
		l[LabelOneOff] = "True"
		l[LabelSlug] = c.Slug
		delete(l, LabelNumber)
	}
	return l
}

// dependsOn is the label that lets `down` find the order without the file.
func dependsOn(s types.ServiceConfig) string {
	var deps []string
	for name, d := range s.DependsOn {
		deps = append(deps, fmt.Sprintf("%s:%s:%t", name, d.Condition, d.Restart))
	}
	slices.Sort(deps)
	return strings.Join(deps, ",")
}

// ParseDependsOn reads the names out of such a label.
func ParseDependsOn(label string) []string {
	var names []string
	for _, item := range strings.Split(label, ",") {
		if name, _, _ := strings.Cut(item, ":"); name != "" {
			names = append(names, name)
		}
	}
	return names
}
