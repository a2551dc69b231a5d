package node

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/engine"
)

const (
	reasonPull        = "ErrImagePull"
	reasonUnavailable = "RegistryUnavailable"
	reasonNeverPull   = "ErrImageNeverPull"
	reasonInvalidName = "InvalidImageName"
)

// ensureImage finds the container's image or pulls it, as imagePullPolicy says.
func (w *worker) ensureImage(pod *v1.Pod, c *v1.Container) (*engine.Image, error) {
	n := w.n
	if _, err := engine.NormalizeRef(c.Image); err != nil && !engine.IsImageID(c.Image) {
		msg := fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: %v", c.Image, c.Image, err)
		n.containerEvent(pod, c.Name, v1.EventTypeWarning, "InspectFailed", "%s", msg)
		n.containerEvent(pod, c.Name, v1.EventTypeWarning, "Failed", "Error: InvalidImageName")
		return nil, &startError{reason: reasonInvalidName, message: msg, delay: retryConfig}
	}
	img, err := n.o.Engine.Images().Get(w.ctx, c.Image)
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		msg := fmt.Sprintf("Failed to inspect image %q: %v", c.Image, err)
		n.containerEvent(pod, c.Name, v1.EventTypeWarning, "InspectFailed", "%s", msg)
		return nil, &startError{reason: "ImageInspectError", message: msg, delay: retryConfig}
	}
	present := err == nil
	policy := c.ImagePullPolicy
	if policy == "" {
		policy = v1.PullIfNotPresent
	}
	switch {
	case present && policy != v1.PullAlways:
		n.containerEvent(pod, c.Name, v1.EventTypeNormal, "Pulled", "Container image %q already present on machine and can be accessed by the pod", c.Image)
		return img, nil
	case policy == v1.PullNever:
		msg := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
		n.containerEvent(pod, c.Name, v1.EventTypeWarning, reasonNeverPull, "%s", msg)
		n.containerEvent(pod, c.Name, v1.EventTypeWarning, "Failed", "Error: %s", reasonNeverPull)
		return nil, &startError{reason: reasonNeverPull, message: msg, delay: retryConfig}
	}
	return w.pull(pod, c, img)
}

// pull fetches the image; have is what the machine holds under its name, or nil.
//
// Kubernetes fails a container of pull policy Always when the registry cannot be
// reached. A machine without a way to the registry could then not run what was
// loaded on it by hand, since Always is the default of images without a tag or with
// the tag latest. So a loaded image is used, and an event says so; one that was
// pulled before is not, for its registry may have a newer one.
func (w *worker) pull(pod *v1.Pod, c *v1.Container, have *engine.Image) (*engine.Image, error) {
	n := w.n
	began := time.Now()
	select {
	case n.pulling <- struct{}{}:
	case <-w.ctx.Done():
		return nil, w.ctx.Err()
	}
	n.containerEvent(pod, c.Name, v1.EventTypeNormal, "Pulling", "Pulling image %q", c.Image)
	pulling := time.Now()
	img, err := n.o.Engine.Images().Pull(w.ctx, c.Image, engine.PullOptions{
		Credentials: w.credentials(pod), Insecure: n.o.Images.Insecure != nil && n.o.Images.Insecure(c.Image),
	})
	<-n.pulling
	if err == nil {
		n.containerEvent(pod, c.Name, v1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.",
			c.Image, time.Since(pulling).Truncate(time.Millisecond), time.Since(began).Truncate(time.Millisecond), img.Size)
		w.mu.Lock()
		delete(w.pulls, c.Image)
		w.mu.Unlock()
		return img, nil
	}
	if w.ctx.Err() != nil {
		return nil, w.ctx.Err()
	}
	var pe *engine.PullError
	if errors.As(err, &pe) && pe.Reason == engine.PullUnreachable && have != nil && have.IsLoaded(c.Image) {
		n.containerEvent(pod, c.Name, v1.EventTypeWarning, reasonUnavailable,
			"Container image %q is used as it was loaded on this machine, because its registry cannot be reached: %v", c.Image, pe.Err)
		return have, nil
	}
	n.containerEvent(pod, c.Name, v1.EventTypeWarning, "Failed", "Failed to pull image %q: %v", c.Image, err)
	n.containerEvent(pod, c.Name, v1.EventTypeWarning, "Failed", "Error: ErrImagePull")
	w.mu.Lock()
	b := w.pulls[c.Image].Next(time.Now())
	w.pulls[c.Image] = b
	w.mu.Unlock()
	return nil, &startError{
		reason: reasonPull, message: err.Error(), delay: b.Delay,
		settle: &v1.ContainerStateWaiting{Reason: "ImagePullBackOff"},
	}
}

// credentials answers a registry host from the pod's imagePullSecrets, then from
// the machine's own. Secrets are read when the registry asks.
func (w *worker) credentials(pod *v1.Pod) func(string) (string, string, error) {
	return func(host string) (string, string, error) {
		for _, ref := range pod.Spec.ImagePullSecrets {
			s := &v1.Secret{}
			if err := w.n.o.Client.Get(w.ctx, client.ObjectKey{Namespace: pod.Namespace, Name: ref.Name}, s); err != nil {
				w.n.event(pod, v1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
					"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", ref.Name)
				continue
			}
			if u, p, ok := registryAuth(s, host); ok {
				return u, p, nil
			}
		}
		if w.n.o.Images.Credentials != nil {
			return w.n.o.Images.Credentials(host)
		}
		return "", "", nil
	}
}

type dockerAuth struct {
	Username, Password, Auth string
}

// registryAuth reads a secret of type kubernetes.io/dockerconfigjson or dockercfg.
func registryAuth(s *v1.Secret, host string) (user, password string, ok bool) {
	var auths map[string]dockerAuth
	if raw := s.Data[v1.DockerConfigJsonKey]; raw != nil {
		var f struct{ Auths map[string]dockerAuth }
		if json.Unmarshal(raw, &f) != nil {
			return "", "", false
		}
		auths = f.Auths
	} else if raw := s.Data[v1.DockerConfigKey]; raw != nil {
		if json.Unmarshal(raw, &auths) != nil {
			return "", "", false
		}
	}
	for _, key := range slices.Sorted(maps.Keys(auths)) {
		if registryHost(key) != registryHost(host) {
			continue
		}
		a := auths[key]
		if a.Username == "" && a.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(a.Auth)
			if err != nil {
				continue
			}
			a.Username, a.Password, _ = strings.Cut(string(plain), ":")
		}
		return a.Username, a.Password, true
	}
	return "", "", false
}

// registryHost is the host of a docker configuration's key, which may be a URL;
// Docker Hub has several names.
func registryHost(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	key, _, _ = strings.Cut(key, "/")
	switch key {
	case "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	}
	return key
}
