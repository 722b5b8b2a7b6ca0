/** How a JVM must be started so that Cassandra 4.0, 4.1 and 5.0 run on Java 17 from a plain class path. */
import { readdirSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { NodeSettings } from './cassandra-config.ts';

/** JDK internals that Cassandra uses: the exports of conf/jvm17-server.options of the Cassandra distribution. */
const EXPORTS = [
  'java.base/java.lang.ref',
  'java.base/jdk.internal.misc',
  'java.base/jdk.internal.ref',
  'java.base/sun.nio.ch',
  'java.management.rmi/com.sun.jmx.remote.internal.rmi',
  'java.rmi/sun.rmi.registry',
  'java.rmi/sun.rmi.server',
  'java.sql/java.sql',
  'jdk.attach/sun.tools.attach',
  'jdk.compiler/com.sun.tools.javac.file',
  'jdk.unsupported/sun.misc',
] as const;

const OPENS = [
  'java.base/java.io',
  'java.base/java.lang',
  'java.base/java.lang.module',
  'java.base/java.lang.reflect',
  'java.base/java.net',
  'java.base/java.nio',
  'java.base/java.util',
  'java.base/java.util.concurrent',
  'java.base/java.util.concurrent.atomic',
  'java.base/jdk.internal.loader',
  'java.base/jdk.internal.math',
  'java.base/jdk.internal.module',
  'java.base/jdk.internal.ref',
  'java.base/jdk.internal.reflect',
  'java.base/jdk.internal.util.jar',
  'java.base/sun.nio.ch',
  'jdk.compiler/com.sun.tools.javac',
  'jdk.management/com.sun.management.internal',
] as const;

/** Module flags that server and tools need alike. */
export function moduleFlags(): string[] {
  return [
    ...EXPORTS.map((name) => `--add-exports=${name}=ALL-UNNAMED`),
    ...OPENS.map((name) => `--add-opens=${name}=ALL-UNNAMED`),
    '-Djdk.attach.allowAttachSelf=true',
    '-Dio.netty.tryReflectionSetAccessible=true',
  ];
}

/** A short life on a busy machine: the first compiler tier and one GC thread start soonest. */
const QUICK_JVM = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xshare:auto'] as const;

/**
 * A single node has nobody to wait for, and the memtable's overhead estimate costs seconds, so both are given; bcrypt
 * with few rounds keeps log-ins cheap, which is acceptable for passwords that are public and bound to loopback.
 */
const QUICK_SERVER = [
  '-Dcassandra.memtable.row_overhead_size=180',
  '-Dcassandra.memtable_row_overhead_computation_step=1000',
  '-Dcassandra.skip_wait_for_gossip_to_settle=0',
  '-Dcassandra.gossip_settle_min_wait_ms=0',
  '-Dcassandra.gossip_settle_interval_ms=100',
  '-Dcassandra.ring_delay_ms=1000',
  '-Dcassandra.superuser_setup_delay_ms=0',
  '-Dcassandra.auth_bcrypt_gensalt_log2_rounds=4',
] as const;

/** All jars of a folder, sorted, so that the class path does not depend on the file system. */
export function listJars(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.jar'))
    .sort()
    .map((name) => `${folder}/${name}`);
}

/** Arguments of `java` for a node whose configuration files are in `<folder>/conf`. */
export function serverArguments(settings: NodeSettings, jars: readonly string[]): string[] {
  const { folder } = settings;
  const agent = jars.find((jar) => /\/jamm-[^/]+\.jar$/.test(jar));
  return [
    '-Xms128m',
    `-Xmx${settings.heapMB}m`,
    '-XX:MaxDirectMemorySize=256m',
    '-Xss512k',
    ...moduleFlags(),
    ...(agent ? [`-javaagent:${agent}`] : []),
    ...(settings.compilesFully ? ['-XX:+UseSerialGC', '-Xshare:auto'] : QUICK_JVM),
    ...QUICK_SERVER,
    `-Dcassandra.jmx.local.port=${settings.jmxPort}`,
    `-Dcassandra.storagedir=${folder}`,
    `-Dcassandra.logdir=${folder}/logs`,
    `-Dcassandra.config=${pathToFileURL(`${folder}/conf/cassandra.yaml`).href}`,
    `-Dcassandra-rackdc.properties=${pathToFileURL(`${folder}/conf/cassandra-rackdc.properties`).href}`,
    `-Dlogback.configurationFile=${folder}/conf/logback.xml`,
    `-Djava.io.tmpdir=${folder}/tmp`,
    '-Dcassandra-foreground=yes',
    '-cp',
    jars.join(':'),
    'org.apache.cassandra.service.CassandraDaemon',
  ];
}

/** Arguments of `java` for a command-line tool of Cassandra. */
export function toolArguments(
  settings: NodeSettings,
  jars: readonly string[],
  mainClass: string,
  args: readonly string[],
): string[] {
  return [
    '-Xmx256m',
    ...QUICK_JVM,
    ...moduleFlags(),
    `-Dlogback.configurationFile=${settings.folder}/conf/logback-tools.xml`,
    `-Dcassandra.storagedir=${settings.folder}/tools`,
    `-Dcassandra.config=${pathToFileURL(`${settings.folder}/conf/cassandra.yaml`).href}`,
    `-Dcassandra-rackdc.properties=${pathToFileURL(`${settings.folder}/conf/cassandra-rackdc.properties`).href}`,
    '-cp',
    jars.join(':'),
    mainClass,
    ...args,
  ];
}
