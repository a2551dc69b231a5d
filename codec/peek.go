package codec

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// PeekType reads only the type that a body claims to be. ok is false, and err says
// why, where the body is no object at all.
func PeekType(m Media, data []byte) (gvk schema.GroupVersionKind, ok bool, err error) {
	switch m {
	case Protobuf:
		gvk, _, err := Envelope(data)
		return gvk, err == nil, err
	case YAML:
		j, err := yaml.YAMLToJSON(data)
		if err != nil {
			return gvk, false, err
		}
		data = j
	}
	head := struct {
		APIVersion string `json:"apiVersion,omitempty"`
		Kind       string `json:"kind,omitempty"`
	}{}
	if err := json.Unmarshal(data, &head); err != nil {
		return gvk, false, fmt.Errorf("couldn't get version/kind; json parse error: %w", err)
	}
	gv, err := schema.ParseGroupVersion(head.APIVersion)
	if err != nil {
		return gvk, false, err
	}
	return gv.WithKind(head.Kind), true, nil
}
