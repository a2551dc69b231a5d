package settings

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestValidate holds the rules and messages of pkg/apis/settings/validation in
// Kubernetes 1.19.
func TestValidate(t *testing.T) {
	for spec, want := range map[string]string{
		`{selector: {}}`: `spec.volumes.env.envFrom.volumeMounts: Required value: must specify at least one`,
		`{selector: {matchLabels: {"a b": c}}, env: [{name: A, value: b}]}`:                                    `spec.selector.matchLabels: Invalid value: "a b": name part`,
		`{selector: {}, env: [{name: "", value: b}]}`:                                                          `spec.env[0].name: Required value`,
		`{selector: {}, envFrom: [{}]}`:                                                                        "spec.envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
		`{selector: {}, volumes: [{name: v_v, emptyDir: {}}]}`:                                                 `spec.volumes[0].name: Invalid value: "v_v"`,
		`{selector: {}, volumes: [{name: v}]}`:                                                                 "", // an emptyDir by default
		`{selector: {}, volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: w, mountPath: /x}]}`:         `spec.volumeMounts[0].name: Not found: "w"`,
		`{selector: {}, volumes: [{name: v, configMap: {name: c}}], volumeMounts: [{name: v, mountPath: /x}]}`: "",
		`{selector: {}, env: [{name: N, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}`:                  "",
	} {
		p := &PodPreset{}
		p.Name, p.Namespace = "p", "ns"
		if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
			t.Fatal(err)
		}
		k := Kinds()[0]
		k.Default(p)
		errs := k.Validate(p)
		if want == "" {
			if len(errs) > 0 {
				t.Errorf("%s: %v", spec, errs)
			}
			continue
		}
		if len(errs) == 0 || !strings.Contains(errs.ToAggregate().Error(), want) {
			t.Errorf("%s: got %v, want %s", spec, errs, want)
		}
	}
}
