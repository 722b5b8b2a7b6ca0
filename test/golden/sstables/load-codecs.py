# Writes the tables of 4.1-nb-codecs; then: nodetool flush ks, nodetool compact ks, nodetool snapshot ks.
from cassandra.cluster import Cluster
c=Cluster(['127.0.0.1']); s=c.connect()
s.execute("CREATE KEYSPACE ks WITH replication={'class':'SimpleStrategy','replication_factor':1}")
s.set_keyspace('ks')
for n,comp in [('deflate',"{'class':'DeflateCompressor','chunk_length_in_kb':4}"),('zstd',"{'class':'ZstdCompressor','chunk_length_in_kb':4}"),('noop',"{'class':'NoopCompressor','chunk_length_in_kb':4}"),('ratio',"{'class':'LZ4Compressor','chunk_length_in_kb':4,'min_compress_ratio':4}")]:
    s.execute(f"CREATE TABLE {n} (pk int, ck int, v text, PRIMARY KEY (pk,ck)) WITH compression={comp}")
cols=[f"c{i:02d}" for i in range(70)]
s.execute("CREATE TABLE cols70 (id int PRIMARY KEY, "+", ".join(f"{x} int" for x in cols)+")")
cols45=cols[:45]
s.execute("CREATE TABLE cols45 (id int PRIMARY KEY, "+", ".join(f"{x} int" for x in cols45)+")")
s.execute("CREATE TABLE extremes (id int PRIMARY KEY, v text, m map<text,int>)")
import random, string
random.seed(1)
for n in ['deflate','zstd','noop','ratio']:
    for i in range(300):
        v = ('abc'*30) if i%2 else ''.join(random.choice(string.printable) for _ in range(150))
        s.execute(f"INSERT INTO {n} (pk,ck,v) VALUES (%s,%s,%s)", (i//20,i,v))
for t,cs in [('cols70',cols),('cols45',cols45)]:
    k=len(cs)
    for i,sel in enumerate([cs,cs[:1],cs[-1:],cs[:k//2-1],cs[:k//2],cs[:k//2+1],cs[:-1],cs[1:],cs[::2],cs[1::2],cs[:31],cs[:32],cs[:33],cs[20:60],[]]):
        s.execute(f"INSERT INTO {t} (id{''.join(', '+x for x in sel)}) VALUES ({i}{''.join(', %d'%j for j in range(len(sel)))})")
        if sel: s.execute(f"UPDATE {t} SET {', '.join(f'{x}={j}' for j,x in enumerate(sel))} WHERE id={100+i}")
for i,ts in enumerate([-(2**63)+1, -1, 0, 5, 1442880000000000, 2**63-1, 2**53, -(2**53)]):
    s.execute(f"INSERT INTO extremes (id,v,m) VALUES ({i},'t{i}',{{'k':{i}}}) USING TIMESTAMP {ts}")
    s.execute(f"DELETE v FROM extremes USING TIMESTAMP {ts} WHERE id={100+i}")
c.shutdown()
