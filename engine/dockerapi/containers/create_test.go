package containers

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
)

// TestCreateAnswers has what a Docker engine of API 1.56 answered to requests in
// several versions of the API.
func TestCreateAnswers(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		version string
		status  int
		body    string // besides the image
		want    string // a part of the answer
	}{
		{"1.56", 400, `"Hostname":"` + strings.Repeat("h", 65) + `"`, `is too long (maximum 64 bytes)`},
		{"1.56", 400, `"WorkingDir":"rel"`, "the working directory 'rel' is invalid, it needs to be an absolute path"},
		{"1.56", 201, `"StopTimeout":-5`, `"Warnings":[]`},
		{"1.56", 400, `"HostConfig":{"Annotations":{"":"x"}}`, "the empty string is not permitted as an annotation key"},
		{"1.42", 201, `"HostConfig":{"Annotations":{"":"x"}}`, ""},
		{"1.56", 400, `"HostConfig":{"PortBindings":{"0/tcp":[{}]}}`, `invalid port specification: \"0/tcp\"`},
		{"1.56", 201, `"HostConfig":{"PortBindings":{"80/tcp":[]}}`, "Following container port(s) have an empty list of port-bindings: 80/tcp."},
		{"1.51", 201, `"HostConfig":{"PortBindings":{"80/tcp":[]}}`, `"Warnings":[]`},
		{"1.56", 400, `"HostConfig":{"Memory":-5}`, "Minimum memory limit allowed is 6MB"},
		{"1.56", 201, `"HostConfig":{"OomKillDisable":true}`, "OOM killer is disabled for the container"},
		{"1.56", 201, `"HostConfig":{"CpuPercent":10}`, "linux does not support CPU percent. Percent discarded."},
		{"1.56", 400, `"HostConfig":{"IOMaximumIOps":10}`, "invalid option: QoS maximum IOPs configuration is not supported on linux"},
		{"1.56", 400, `"HostConfig":{"CpusetCpus":"0,"}`, "Invalid value 0, for cpuset cpus: invalid format: 0,"},
		{"1.56", 400, `"HostConfig":{"CpusetCpus":"99999"}`, "value of out range, maximum is 8192"},
		{"1.56", 400, `"HostConfig":{"CpusetMems":"8000"}`, "Requested memory nodes are not available - requested 8000, available: "},
		{"1.56", 400, `"HostConfig":{"IpcMode":"container:no"}`, "No such container: no"},
		{"1.56", 201, `"HostConfig":{"IpcMode":"container:"}`, ""},
		{"1.56", 400, `"HostConfig":{"NetworkMode":"container"}`, "invalid container format container:<name|id>"},
		{"1.56", 201, `"HostConfig":{"NetworkMode":"container:no"}`, ""},
		{"1.56", 201, `"MacAddress":"02:42:ac:11:00:99"`, `"Warnings":[]`},
		{"1.51", 201, `"MacAddress":"02:42:ac:11:00:99"`, macDeprecated},
		{"1.43", 400, `"MacAddress":"02:42:ac:11:00:99","HostConfig":{"NetworkMode":"host"}`, "conflicting options: mac-address and the network mode"},
		{"1.56", 400, `"NetworkingConfig":{"EndpointsConfig":{"bridge":null}}`, "invalid config for network bridge: EndpointsConfig is nil"},
		{"1.43", 400, `"NetworkingConfig":{"EndpointsConfig":{"a":{},"b":{}}}`, "Container cannot be created with multiple network endpoints: a, b"},
		{"1.56", 400, `"NetworkingConfig":{"EndpointsConfig":{"bridge":{"IPAMConfig":{"IPv4Address":"9.9.9.9"}}}}`, `* user-specified IP address is supported on user-defined networks only\n* no configured subnet contains IP address 9.9.9.9`},
		{"1.56", 500, `"HostConfig":{"SecurityOpt":["systempaths=unconfined"]}`, `invalid --security-opt 2: \"systempaths=unconfined\"`},
		{"1.56", 400, `"HostConfig":{"ExtraHosts":["b=::1"]}`, `invalid IP address in add-host: \":1\"`},
		{"1.56", 400, `"HostConfig":{"RestartPolicy":{"MaximumRetryCount":3}}`, "maximum retry count can only be used with 'on-failure'"},
		{"1.56", 400, `"HostConfig":{"LogConfig":{"Config":{"mode":"x"}}}`, "logger: logging mode not supported: x"},
		{"1.56", 500, `"HostConfig":{"Sysctls":{"net.ipv4.conf.eth0.forwarding":"1"}}`, "must be supplied using driver option 'com.docker.network.endpoint.sysctls'"},
		{"1.46", 201, `"HostConfig":{"Sysctls":{"net.ipv4.conf.eth0.forwarding":"1"}}`, `Migrated sysctl \"net.ipv4.conf.eth0.forwarding\" to DriverOpts{`},
		{"1.40", 400, `"HostConfig":{"Capabilities":["x"]}`, "the HostConfig.Capabilities field is not supported by this daemon"},
		{"1.56", 500, `"HostConfig":{"Links":["a:b:c"]}`, "bad format for links: a:b:c"},
		{"1.56", 400, `"HostConfig":{"VolumesFrom":[""]}`, "volumes-from specification cannot be an empty string"},
		{"1.56", 400, `"HostConfig":{"VolumesFrom":["a:b"]}`, "invalid mode: b"},
		{"1.56", 500, `"HostConfig":{"Binds":["/tmp:/x:nocopy"]}`, "field VolumeOptions must not be specified"},
		{"1.56", 400, `"HostConfig":{"Binds":["/tmp:/x","/etc:/x"]}`, "Duplicate mount point: /x"},
		{"1.56", 400, `"HostConfig":{"Tmpfs":{"x":""}}`, "invalid mount path: 'x' mount path must be absolute"},
		{"1.56", 400, `"HostConfig":{"Mounts":[{"Type":"bind","Source":"/tmp","Target":"/x","TmpfsOptions":{}}]}`, `TmpfsOptions must not be specified on mount type \"bind\"`},
		{"1.41", 201, `"HostConfig":{"Mounts":[{"Type":"bind","Source":"/tmp","Target":"/x","TmpfsOptions":{}}]}`, ""},
		{"1.56", 400, `"HostConfig":{"Mounts":[{"Type":"bind","Source":"/nowhere","Target":"/x"}]}`, "bind source path does not exist: /nowhere"},
		{"1.56", 400, `"HostConfig":{"Mounts":[{"Type":"volume","Target":"/x","VolumeOptions":{"Subpath":"x"}}]}`, "must not set Subpath when using anonymous volumes"},
		{"1.44", 400, `"HostConfig":{"Mounts":[{"Type":"volume","Source":"vv","Target":"/x","VolumeOptions":{"Subpath":"x"}}]}`, "VolumeOptions.Subpath needs API v1.45 or newer"},
		{"1.56", 400, `"HostConfig":{"Mounts":[{"Type":"tmpfs","Target":"/x","TmpfsOptions":{"Options":[["foo"]]}}]}`, "invalid option: foo"},
		{"1.47", 400, `"HostConfig":{"Mounts":[{"Type":"image","Source":"busybox","Target":"/x"}]}`, `Mount type \"Image\" needs API v1.48 or newer`},
		{"1.56", 400, `"HostConfig":{"Mounts":[{"Type":"image","Source":"busybox","Target":"/x","ImageOptions":{"Subpath":"../x"}}]}`, "subpath must be a relative path within the volume"},
	} {
		path := "/v" + c.version + "/containers/create?name=it"
		if got := w.want(c.status, "POST", path, `{"Image":"busybox",`+c.body+`}`); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.body, got)
		}
		if c.status == 201 {
			w.want(204, "DELETE", "/containers/it", "")
		}
	}
	w.want(400, "POST", "/containers/create?name=//it", `{"Image":"busybox"}`)
}

// TestInspectOfOldVersions has fields that younger versions have no more, or have
// elsewhere.
func TestInspectOfOldVersions(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", "/v1.43/containers/create?name=one", `{"Image":"busybox","MacAddress":"02:42:ac:11:00:99","Healthcheck":{"Test":["CMD","x"],"StartInterval":1000000000}}`)
	if got := w.want(200, "GET", "/v1.43/containers/one/json", ""); !strings.Contains(got, `"MacAddress":"02:42:ac:11:00:99"`) || strings.Contains(got, "StartInterval") {
		t.Error(got)
	}
	w.want(201, "POST", "/containers/create?name=two", `{"Image":"busybox","HostConfig":{"Umask":18,"Privileged":true,"SecurityOpt":["seccomp=unconfined"]}}`)
	if got := w.want(200, "GET", "/v1.55/containers/two/json", ""); strings.Contains(got, "Umask") {
		t.Error(got)
	}
	if got := w.inspect("two").HostConfig.SecurityOpt; len(got) != 2 || got[1] != "label=disable" {
		t.Error(got)
	}
}

func TestUnsupportedLimitsAreDropped(t *testing.T) {
	r := &container.Resources{BlkioWeight: 5, BlkioWeightDevice: []*blkiodev.WeightDevice{{}}, BlkioDeviceWriteIOps: []*blkiodev.ThrottleDevice{{}}}
	warnings := dropUnsupported(r, func(file string) bool { return file == "blkio.throttle.write_iops_device" })
	if len(warnings) != 2 || r.BlkioWeight != 0 || len(r.BlkioWeightDevice) != 0 || len(r.BlkioDeviceWriteIOps) != 1 {
		t.Errorf("%v %+v", warnings, r)
	}
}
