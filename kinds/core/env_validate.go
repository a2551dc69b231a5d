package core

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

func (c *podCheck) env(vars []v1.EnvVar, path *field.Path) {
	for i := range vars {
		v := &vars[i]
		if v.Name == "" {
			c.Required(path.Index(i).Child("name"), "")
		} else {
			c.envName(v.Name, func() *field.Path { return path.Index(i).Child("name") })
		}
		if v.ValueFrom != nil {
			c.envSource(v, path.Index(i).Child("valueFrom"))
		}
	}
}

func (c *podCheck) envName(name string, path func() *field.Path) {
	if msgs := validation.IsRelaxedEnvVarName(name); len(msgs) > 0 {
		c.Messages(path(), name, msgs)
	}
}

func (c *podCheck) envSource(v *v1.EnvVar, path *field.Path) {
	from, sources := v.ValueFrom, 0
	if from.FieldRef != nil {
		sources++
		c.fieldRef(from.FieldRef, envFields, path.Child("fieldRef"))
	}
	if from.ResourceFieldRef != nil {
		sources++
		c.resourceRef(from.ResourceFieldRef, false, path.Child("resourceFieldRef"))
	}
	if r := from.ConfigMapKeyRef; r != nil {
		sources++
		c.keyRef(r.Name, r.Key, path.Child("configMapKeyRef"))
	}
	if r := from.SecretKeyRef; r != nil {
		sources++
		c.keyRef(r.Name, r.Key, path.Child("secretKeyRef"))
	}
	if from.FileKeyRef != nil {
		sources++
		c.fileKeyRef(from.FileKeyRef, path.Child("fileKeyRef"))
	}
	switch {
	case sources == 0:
		c.Invalid(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`")
	case v.Value != "":
		c.Invalid(path, "", "may not be specified when `value` is not empty")
	case sources > 1:
		c.Invalid(path, "", "may not have more than one field specified at a time")
	}
}

// The fields of a pod that it may see: in variables, and in files.
var (
	envFields = []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
	fileFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
)

func (c *podCheck) fieldRef(r *v1.ObjectFieldSelector, allowed []string, path *field.Path) {
	if r.APIVersion == "" {
		c.Required(path.Child("apiVersion"), "")
		return
	}
	if r.FieldPath == "" {
		c.Required(path.Child("fieldPath"), "")
		return
	}
	name, key, subscripted, err := podField(r.APIVersion, r.FieldPath)
	switch {
	case err != nil:
		c.Invalid(path.Child("fieldPath"), r.FieldPath, fmt.Sprintf("error converting fieldPath: %v", err))
	case subscripted && name == "metadata.annotations":
		c.Add(rules.QualifiedName(strings.ToLower(key), path)...)
	case subscripted:
		c.Add(rules.QualifiedName(key, path)...)
	default:
		rules.Supported(&c.List, path.Child("fieldPath"), name, allowed...)
	}
}

// podField reads a field path such as metadata.name or metadata.labels['app'].
func podField(version, text string) (name, key string, subscripted bool, err error) {
	if version != "v1" {
		return "", "", false, fmt.Errorf("unsupported pod version: %s", version)
	}
	if head, ok := strings.CutSuffix(text, "']"); ok {
		if name, key, ok := strings.Cut(head, "['"); ok && name != "" {
			if name != "metadata.annotations" && name != "metadata.labels" {
				return "", "", false, fmt.Errorf("field label does not support subscript: %s", text)
			}
			return name, key, true, nil
		}
	}
	switch text {
	case "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
		"spec.restartPolicy", "spec.serviceAccountName", "spec.schedulerName", "status.phase", "status.hostIP",
		"status.hostIPs", "status.podIP", "status.podIPs":
		return text, "", false, nil
	case "spec.host":
		return "spec.nodeName", "", false, nil
	}
	return "", "", false, errors.New("field label not supported: " + text)
}

// resourceFields are the resources that a container may see of itself, besides
// those of huge pages.
var resourceFields = []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory",
	"requests.cpu", "requests.ephemeral-storage", "requests.memory"}

func (c *podCheck) resourceRef(r *v1.ResourceFieldSelector, inFile bool, path *field.Path) {
	pages := strings.HasPrefix(r.Resource, "limits.hugepages-") || strings.HasPrefix(r.Resource, "requests.hugepages-")
	switch {
	case inFile && r.ContainerName == "":
		c.Required(path.Child("containerName"), "")
	case r.Resource == "":
		c.Required(path.Child("resource"), "")
	case !pages:
		rules.Supported(&c.List, path.Child("resource"), r.Resource, resourceFields...)
	}
	c.divisor(r.Resource, r.Divisor, pages, path)
}

var byteDivisors = []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}

func (c *podCheck) divisor(name string, divisor resource.Quantity, pages bool, path *field.Path) {
	if divisor.IsZero() {
		return
	}
	text := divisor.String()
	of := ""
	switch {
	case name == "limits.cpu" || name == "requests.cpu":
		if text != "1m" && text != "1" {
			c.Invalid(path.Child("divisor"), name, "only divisor's values 1m and 1 are supported with the cpu resource")
		}
		return
	case name == "limits.memory" || name == "requests.memory":
		of = "memory"
	case name == "limits.ephemeral-storage" || name == "requests.ephemeral-storage":
		of = "local ephemeral storage"
	case pages:
		of = "hugepages"
	}
	if of != "" && !slices.Contains(byteDivisors, text) {
		c.Invalid(path.Child("divisor"), name, fmt.Sprintf("only divisor's values %s are supported with the %s resource", strings.Join(byteDivisors, ", "), of))
	}
}

func (c *podCheck) keyRef(name, key string, path *field.Path) {
	c.Name(path.Child("name"), name, rules.DNSSubdomain)
	if key == "" {
		c.Required(path.Child("key"), "")
		return
	}
	c.Messages(path.Child("key"), key, validation.IsConfigMapKey(key))
}

func (c *podCheck) fileKeyRef(r *v1.FileKeySelector, path *field.Path) {
	if r.Key == "" {
		c.Required(path.Child("key"), "")
	} else {
		c.envName(r.Key, func() *field.Path { return path.Child("key") })
	}
	if r.VolumeName == "" {
		c.Required(path.Child("volumeName"), "")
	} else {
		c.Add(rules.DNSLabelField(r.VolumeName, path.Child("volumeName"))...)
	}
	if r.Path == "" {
		c.Required(path.Child("path"), "")
	} else {
		c.Add(rules.NoBacksteps(r.Path, path.Child("path"))...)
	}
}

// fileKeyVolumes wants the volume of every fileKeyRef to be an emptyDir.
func (c *podCheck) fileKeyVolumes(path *field.Path) {
	var sources map[string]*v1.VolumeSource
	c.eachWithPath(path, func(ctr *v1.Container, at *field.Path) {
		for i := range ctr.Env {
			if ctr.Env[i].ValueFrom == nil || ctr.Env[i].ValueFrom.FileKeyRef == nil {
				continue
			}
			if sources == nil {
				sources = map[string]*v1.VolumeSource{}
				for j := range c.spec.Volumes {
					sources[c.spec.Volumes[j].Name] = &c.spec.Volumes[j].VolumeSource
				}
			}
			name := ctr.Env[i].ValueFrom.FileKeyRef.VolumeName
			where := at.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			if source := sources[name]; source == nil {
				c.NotFound(where, name)
			} else if source.EmptyDir == nil {
				c.Invalid(where, name, "referenced volume must be of type emptyDir")
			}
		}
	})
}

func (c *podCheck) envFrom(list []v1.EnvFromSource, path *field.Path) {
	for i := range list {
		e, at := &list[i], path.Index(i)
		if e.Prefix != "" {
			c.envName(e.Prefix, func() *field.Path { return at.Child("prefix") })
		}
		sources := 0
		if e.ConfigMapRef != nil {
			sources++
			c.envFromName(e.ConfigMapRef.Name, at.Child("configMapRef", "name"))
		}
		if e.SecretRef != nil {
			sources++
			c.envFromName(e.SecretRef.Name, at.Child("secretRef", "name"))
		}
		// These two are told of the list, not of its item.
		if sources == 0 {
			c.Invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
		} else if sources > 1 {
			c.Invalid(path, "", "may not have more than one field specified at a time")
		}
	}
}

func (c *podCheck) envFromName(name string, path *field.Path) {
	if name == "" {
		c.Required(path, "")
		return
	}
	c.Messages(path, name, rules.DNSSubdomain(name, true))
}
