#!/bin/sh
# Makes the fixtures of Cassandra 3.0 and 3.11 anew: sh make.sh [RELEASE …]; needs Maven and a JDK 17. The folders beside this
# script are replaced. Times and ids come from the clock, so that the files do not come out byte for byte as they were.
set -e
here=$(cd "$(dirname "$0")" && pwd)
work=${WORK:-/tmp/ringshift-fixtures}

# fetch RELEASE: its jars to $work/RELEASE/jars
fetch() {
  [ -e "$work/$1/jars/.complete" ] && return
  mkdir -p "$work/$1/jars"
  cat > "$work/$1/pom.xml" <<P
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>ringshift.local</groupId><artifactId>fixtures</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency><groupId>org.apache.cassandra</groupId><artifactId>cassandra-all</artifactId><version>$1</version></dependency></dependencies>
</project>
P
  mvn -q -B -f "$work/$1/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$work/$1/jars"
  touch "$work/$1/jars/.complete"
}

# run RELEASE MAIN ARGUMENTS…: java over its jars
run() {
  jars=$work/$1/jars/
  shift
  java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -Dcassandra.memtable_row_overhead_computation_step=10 -Dcassandra.unsafesystem=true -Djava.security.manager=allow \
    "-javaagent:$(find "$jars" -name 'jamm-*.jar')" $opens \
    "-Dcassandra.config=file://$folder/cassandra.yaml" "-Dcassandra.storagedir=$data" \
    "-Dlogback.configurationFile=$folder/logback.xml" -cp "$(find "$jars" -name '*.jar' | sort | tr '\n' ':')" "$@"
}

opens=
for name in java.io java.lang java.lang.ref java.lang.reflect java.net java.nio java.util java.util.concurrent \
  java.util.concurrent.atomic jdk.internal.ref jdk.internal.misc jdk.internal.loader sun.nio.ch; do
  opens="$opens --add-opens=java.base/$name=ALL-UNNAMED --add-exports=java.base/$name=ALL-UNNAMED"
done

# ma; mb; mc, with user types that are frozen but not called so; mc; md; me
for release in ${*:-3.0.6 3.0.7 3.0.16 3.11.3 3.11.10 3.11.19}; do
  fetch "$release"
  fetch 4.1.10
  folder=$work/$release
  data=$folder/storage
  rm -rf "$data"
  mkdir -p "$data"
  echo '<configuration><root level="OFF"/></configuration>' > "$folder/logback.xml"
  cat > "$folder/cassandra.yaml" <<Y
cluster_name: fixtures
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
data_file_directories: [$data/data]
commitlog_directory: $data/commitlog
saved_caches_directory: $data/saved_caches
hints_directory: $data/hints
commitlog_sync: periodic
commitlog_sync_period_in_ms: 10000
disk_optimization_strategy: ssd
endpoint_snitch: SimpleSnitch
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
column_index_size_in_kb: 1
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{seeds: 127.0.0.1}]
Y
  [ "${release#3.0}" = "$release" ] && echo "cdc_raw_directory: $data/cdc" >> "$folder/cassandra.yaml"
  run "$release" "$here/WriteFixtures.java" "$here/statements.cql"
  rm -rf "${here:?}/$release"
  for table in "$data"/data/ks/*; do
    name=$(basename "$table" | sed 's/-[0-9a-f]*$//')
    mkdir -p "$here/$release/$name"
    for file in "$table"/m*-big-*; do
      case $file in *-Filter.db) continue ;; esac
      cp "$file" "$here/$release/$name/"
    done
  done
  # sstabledump fails at the null clusterings of compact storage. The one of 3.x loses partitions (3.0.6), cuts times in
  # keys, and prints what is no JSON; the one of 4.1 does not know that the user types of 3.0 are frozen.
  pairs=
  for file in "$here/$release"/*/*-Data.db; do
    name=$(basename "$(dirname "$file")")
    [ "$name" = compact ] && continue
    pair="$(echo "$data/data/ks/$name"-*/"$(basename "$file")") ${file%-Data.db}-dump.json.gz"
    case $release/$name in
      3.0.*/udts) fetch 3.0.16 && run 3.0.16 "$here/DumpAll.java" $pair ;;
      *) pairs="$pairs $pair" ;;
    esac
  done
  run 4.1.10 "$here/DumpAll.java" $pairs
done
