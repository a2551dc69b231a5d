package core

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

// maxDataSize bounds the values of a ConfigMap or Secret together.
const maxDataSize = v1.MaxSecretSize

const frozen = "field is immutable when `immutable` is set"

func validateConfigMap(c *v1.ConfigMap) field.ErrorList {
	var l rules.List
	size := 0
	data, binary := field.NewPath("data"), field.NewPath("binaryData")
	for _, key := range slices.Sorted(maps.Keys(c.Data)) {
		l.Messages(data.Key(key), key, validation.IsConfigMapKey(key))
		if _, twice := c.BinaryData[key]; twice {
			l.Invalid(data.Key(key), key, "duplicate of key present in binaryData")
		}
		size += len(c.Data[key])
	}
	for _, key := range slices.Sorted(maps.Keys(c.BinaryData)) {
		l.Messages(binary.Key(key), key, validation.IsConfigMapKey(key))
		size += len(c.BinaryData[key])
	}
	if size > maxDataSize {
		l.TooLong(field.NewPath(""), maxDataSize)
	}
	return l.Errors()
}

func validateConfigMapUpdate(c, old *v1.ConfigMap) field.ErrorList {
	var l rules.List
	if old.Immutable != nil && *old.Immutable {
		stillFrozen(&l, c.Immutable)
		// No data and empty data are the same, unlike binaryData and secrets.
		if !maps.Equal(c.Data, old.Data) {
			l.Forbidden(field.NewPath("data"), frozen)
		}
		if !reflect.DeepEqual(c.BinaryData, old.BinaryData) {
			l.Forbidden(field.NewPath("binaryData"), frozen)
		}
	}
	l.Add(validateConfigMap(c)...)
	return l.Errors()
}

func stillFrozen(l *rules.List, immutable *bool) {
	if immutable == nil || !*immutable {
		l.Forbidden(field.NewPath("immutable"), frozen)
	}
}

func validateSecret(s *v1.Secret) field.ErrorList {
	var l rules.List
	path := field.NewPath("data")
	size := 0
	for _, key := range slices.Sorted(maps.Keys(s.Data)) {
		l.Messages(path.Key(key), key, validation.IsConfigMapKey(key))
		size += len(s.Data[key])
	}
	if size > maxDataSize {
		l.TooLong(path, maxDataSize)
	}
	has := func(key string) bool { _, ok := s.Data[key]; return ok }
	need := func(key string) {
		if !has(key) {
			l.Required(path.Key(key), "")
		}
	}
	switch s.Type {
	case v1.SecretTypeServiceAccountToken:
		if s.Annotations[v1.ServiceAccountNameKey] == "" {
			l.Required(field.NewPath("metadata", "annotations").Key(v1.ServiceAccountNameKey), "")
		}
	case v1.SecretTypeDockercfg:
		dockerConfig(&l, s, v1.DockerConfigKey, path)
	case v1.SecretTypeDockerConfigJson:
		dockerConfig(&l, s, v1.DockerConfigJsonKey, path)
	case v1.SecretTypeBasicAuth:
		if !has(v1.BasicAuthUsernameKey) && !has(v1.BasicAuthPasswordKey) {
			l.Required(path.Key(v1.BasicAuthUsernameKey), "")
			l.Required(path.Key(v1.BasicAuthPasswordKey), "")
		}
	case v1.SecretTypeSSHAuth:
		if len(s.Data[v1.SSHAuthPrivateKey]) == 0 {
			l.Required(path.Key(v1.SSHAuthPrivateKey), "")
		}
	case v1.SecretTypeTLS:
		need(v1.TLSCertKey)
		need(v1.TLSPrivateKeyKey)
	}
	return l.Errors()
}

func dockerConfig(l *rules.List, s *v1.Secret, key string, path *field.Path) {
	data, ok := s.Data[key]
	if !ok {
		l.Required(path.Key(key), "")
		return
	}
	if err := json.Unmarshal(data, &map[string]any{}); err != nil {
		l.Invalid(path.Key(key), "<secret contents redacted>", err.Error())
	}
}

func validateSecretUpdate(s, old *v1.Secret) field.ErrorList {
	var l rules.List
	l.Add(rules.Immutable(s.Type, old.Type, field.NewPath("type"))...)
	if old.Immutable != nil && *old.Immutable {
		stillFrozen(&l, s.Immutable)
		if !reflect.DeepEqual(s.Data, old.Data) {
			l.Forbidden(field.NewPath("data"), frozen)
		}
	}
	l.Add(validateSecret(s)...)
	return l.Errors()
}
